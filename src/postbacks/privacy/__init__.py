"""Addresses as keyed hashes."""
