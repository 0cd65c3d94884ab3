"""Postbacks: a click becomes a conversion on the ad platform that brought the player."""

__version__ = "0.1.0"
