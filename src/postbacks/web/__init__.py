"""What all HTTP endpoints share: who is calling, how a body is read, how errors look."""
