"""The hand that plays shell and server has moved into the package, so that a dialect from outside can be held by it too."""

from harness.conformance.hand import MS, START, WALL, Hand, R, Rows, S, context

__all__ = ["MS", "START", "WALL", "Hand", "R", "Rows", "S", "context"]
