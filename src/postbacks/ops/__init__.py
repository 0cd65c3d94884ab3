"""For the people who run it: deliveries, explanations, counts, health, the dashboard."""
