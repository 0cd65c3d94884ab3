"""The operator's pages: server-rendered HTML without a script."""
