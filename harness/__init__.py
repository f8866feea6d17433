"""guestswarm: a load- and soak-testing harness for guest messaging APIs."""

__version__ = "0.1.0"
