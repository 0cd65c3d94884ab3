"""From the outbox to the platforms and back: claim, build, send, read, settle."""
