"""The pure core: plain frozen data and plain functions. No I/O, no SQL, no clock of its own."""
