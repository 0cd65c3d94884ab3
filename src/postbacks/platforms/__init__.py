"""One module per ad platform: what it accepts, how it answers. Pure; the dispatcher does the sending."""
