"""The landing-page snippet: the script, how it is served, and a demo page that carries it."""
