"""The edge towards the platforms: sending, access tokens, what of it may be kept, and asking whether it works."""
