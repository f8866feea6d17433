"""The guest's half of each protocol: pure state machines on top of `harness.core`."""
