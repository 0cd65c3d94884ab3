"""HTTP in: clicks and events, validated, matched, planned and committed before they are answered."""
