"""Which load to try next: doubled until it is too much, then halved between. It sees nothing but loads and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Search:
    """Looks for the greatest load that is healthy."""

    first: int
    most: int
    """No more than that is tried."""
    tolerance: float = 0.05
    """Near enough: the gap between what holds and what does not, as a share of the latter."""
    tries: int = 1
    """A load is too much only if it was so that many times: a disturbed step must not decide alone."""
    holds: int = 0
    """The greatest load that was healthy."""
    fails: int = 0
    """The least load that was too much; 0: none was."""
    _failed: dict[int, int] = field(default_factory=dict)

    def next(self) -> int | None:
        """The next load; None once it is found."""
        if not self.fails:
            if self.holds >= self.most:
                return None
            return min(self.holds * 2 or self.first, self.most)
        if self.fails - self.holds <= max(1, round(self.tolerance * self.fails)):
            return None
        return (self.holds + self.fails) // 2

    def update(self, load: int, healthy: bool) -> None:
        """What came of it."""
        if healthy:
            self.holds = max(self.holds, load)
            return
        self._failed[load] = self._failed.get(load, 0) + 1
        if self._failed[load] >= self.tries:
            self.fails = min(self.fails or load, load)

    @property
    def found(self) -> bool:
        """Whether a limit was met, not only the end of what was tried."""
        return self.fails > 0
