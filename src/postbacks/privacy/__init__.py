"""Addresses as keyed hashes, erasure, export."""
