"""How Locust's users are spread: all places at once, and never again after a worker was lost.

A guest is a conversation in progress. Locust would make up for a lost worker by ramping everything up from zero, and would
double guests when the worker comes back; here what is lost stays lost, the others stay as they are, and the run is said to
be short of a worker. When guests arrive is not decided here either: `arrivals` does that.
"""

from __future__ import annotations

import locust

from collections.abc import Callable
from typing import Any

from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode

Spread = dict[str, dict[str, int]]


class Dispatch:
    """What is known of the spread beyond the life of one dispatcher (Locust throws them away when a worker is dead)."""

    def __init__(self, on_loss: Callable[[str], object], on_pace: Callable[[int, float], object]) -> None:
        self.on_loss, self.on_pace = on_loss, on_pace
        self.running = False
        self.spread: Spread = {}
        self.lost: set[str] = set()

    def begin(self) -> None:
        """A run starts: nothing is spread yet."""
        self.running, self.spread, self.lost = True, {}, set()

    def end(self) -> None:
        """The run is over."""
        self.running = False

    def dispatcher_class(self) -> type[UsersDispatcher]:
        """The class for `environment.dispatcher_class`."""
        dispatch = self

        class GuestDispatcher(FrozenDispatcher):
            def __init__(self, worker_nodes: list[WorkerNode], user_classes: list[type[locust.User]]) -> None:
                super().__init__(worker_nodes, user_classes, dispatch)

        return GuestDispatcher


class FrozenDispatcher(UsersDispatcher):
    """Releases all places in one go; with a worker lost, repeats what the others have."""

    def __init__(self, worker_nodes: list[WorkerNode], user_classes: list[type[locust.User]], dispatch: Dispatch) -> None:
        super().__init__(worker_nodes, user_classes)
        self._dispatch = dispatch
        self._frozen = dispatch.running and bool(dispatch.lost)
        self._told = False

    def new_dispatch(self, target_user_count: int, spawn_rate: float, user_classes: list[type[locust.User]] | None = None) -> None:
        """As Locust has it, without its bursts of one second."""
        self._told = False
        if not self._frozen:
            self._dispatch.on_pace(target_user_count, spawn_rate)
        super().new_dispatch(target_user_count, float(max(target_user_count, 1)), user_classes)

    def add_worker(self, worker_node: WorkerNode) -> None:
        """A worker that comes (back) while a run is on gets no guests: they would be too many, or strangers to the journal."""

    def remove_worker(self, worker_node: WorkerNode) -> None:
        """A worker is gone, and its guests with it."""
        if self._dispatch.running and worker_node.id in self._dispatch.spread:
            self._frozen = True
            self._dispatch.lost.add(worker_node.id)
            self._dispatch.on_loss(worker_node.id)

    def __next__(self) -> Spread:
        if self._frozen:
            if self._told:
                raise StopIteration
            self._told = True
            return self._left()
        spread: Spread = super().__next__()
        self._dispatch.spread = {worker: dict(counts) for worker, counts in spread.items()}
        return spread

    def _left(self) -> Spread:
        """What the workers that are still there have; Locust wants at least one entry."""
        lost = self._dispatch.lost
        left: Spread = {worker: dict(counts) for worker, counts in self._dispatch.spread.items() if worker not in lost}
        empty: dict[str, Any] = dict.fromkeys((each.__name__ for each in self._original_user_classes), 0)
        return left or dict.fromkeys(list(self._dispatch.spread)[:1], empty)
