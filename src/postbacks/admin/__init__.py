"""Setting up: apps, keys, destinations; by HTTP, from a file, and asking whether it works."""
