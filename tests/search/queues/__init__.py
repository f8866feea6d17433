"""Queues whose capacity is known: computed exactly (`exact`), played event by event (`played`). Neither knows `harness.search`."""
