"""What a run saw: traps and edge cases by name, found in the journal's rows alone.

Pure: rows in, findings out. Detectors never look at a fault's name (the note `misbehaves`), and what they say depends neither
on the order of files nor on how guests were spread over them.
"""

from harness.findings.board import Board
from harness.findings.model import Example, Finding, Moment

__all__ = ["Board", "Example", "Finding", "Moment"]
