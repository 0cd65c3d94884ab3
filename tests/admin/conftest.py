"""Fixtures: a running service, of which each test has an app of its own."""

from tests.api.game import game, shared

__all__ = ["game", "shared"]
