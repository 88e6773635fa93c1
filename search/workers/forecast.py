"""How long a study will still take, from its first training on.

The unit is the update: what the runs of a phase took is spread over the updates that they asked
for, scoring, saving and waiting among it, and over all workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Typical:
    """Updates of a typical run of a study.

    Attributes:
        direct: Updates of a direct training.
        trial: Updates of a trial, nothing of it cached.
    """

    direct: float
    trial: float


@dataclass
class Forecast:
    """Time left of a run of a study.

    Attributes:
        clock: Seconds from any moment on.
    """

    clock: Callable[[], float] = time.monotonic
    _typical: Typical = field(default=Typical(1.0, 1.0), init=False)
    _trials_to_come: int = field(default=0, init=False)
    _is_direct: bool = field(default=False, init=False)
    _done: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _first: int = field(default=0, init=False)
    _began: float = field(default=0.0, init=False)
    _run_began: float | None = field(default=None, init=False)
    _updates: dict[tuple[object, ...], int] = field(default_factory=dict, init=False)
    _last: tuple[float, float] | None = field(default=None, init=False)
    _pace: float | None = field(default=None, init=False)

    def expect(self, typical: Typical, trials: int) -> None:
        """Say what runs are like, and how many trials follow the direct trainings."""
        self._typical, self._trials_to_come = typical, trials

    def begin(self, done: int, total: int, *, is_direct: bool) -> None:
        """A phase begins, or its runs are more than was known."""
        if is_direct != self._is_direct or not self._total:
            self._first, self._began, self._last = done, self.clock(), None
        self._is_direct, self._done, self._total = is_direct, done, total

    def on_run_started(self) -> None:
        """A run of this worker begins."""
        self._run_began, self._updates = self.clock(), {}

    def on_updates(self, stage: tuple[object, ...], done: int) -> None:
        """A stage of this worker's run has so many updates."""
        self._updates[stage] = done

    def on_run_finished(self, done: int) -> None:
        """A run of this worker is finished; so many of all workers are by now."""
        self._done, self._run_began = done, None
        self._last = self.clock(), self.clock() - self._began

    def seconds_left(self) -> float | None:
        """Seconds until the study has all its trials; None while nothing is known."""
        if (per_update := self._seconds_per_update()) is None:
            return None
        self._pace = per_update
        typical = self._typical
        here = typical.direct if self._is_direct else typical.trial
        seconds = (self._total - self._done) * here * per_update
        if self._is_direct:
            seconds += self._trials_to_come * typical.trial * per_update
        since = self.clock() - self._last[0] if self._last else 0.0
        if self._last is None and self._run_began is not None:
            since = self.clock() - self._run_began
        return max(0.0, seconds - min(since, here * per_update))

    def _seconds_per_update(self) -> float | None:
        here = self._typical.direct if self._is_direct else self._typical.trial
        if self._last is not None and (finished := self._done - self._first) > 0:
            return self._last[1] / (finished * here)
        if self._pace is not None:  # of the phase before
            return self._pace
        trained = sum(self._updates.values())
        if self._run_began is None or trained < 2:
            return None
        return (self.clock() - self._run_began) / trained
