"""Fixtures of the contract tests."""

from tests.api.game import game, shared

__all__ = ["game", "shared"]
