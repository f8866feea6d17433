"""Pure core: what both dialects share. No I/O, no clock, no global randomness."""
