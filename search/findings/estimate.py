"""What a study or a confirmation will take, as values and in words."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.command_line.words import in_about, in_bytes


@dataclass(frozen=True)
class StudyEstimate:
    """What a study will take on this machine.

    Attributes:
        study: Name of the study.
        question: Its question.
        data: Where its corpora come from, and why.
        splits: Number of splits that it reads.
        device: Device and precision.
        is_card: Whether the device is a GPU.
        recipes: Number of recipes to choose among, direct trainings included.
        is_whole: Whether these are all; of larger spaces a sample is searched.
        tasks: Arm -> number of its intermediate tasks.
        direct: Direct trainings that its baseline probably takes.
        trials: Trials after them.
        stages_asked: Stages that these runs ask for.
        stages_trained: Stages, or rests of them, that are trained after sharing.
        updates_asked: Optimizer steps of the stages that are asked for.
        updates_trained: Optimizer steps that are taken.
        workers: Workers on this machine.
        seconds: Time from start to end.
        scoring_seconds: Of that, to score on validation splits, of all workers together.
        device_seconds: Device time of all workers.
        disk: Bytes of checkpoints.
        disk_limit: Bytes above which the least recently used go; None: none goes.
        cache: Where checkpoints lie.
        detectable: Gain, points, from which on one is told from none by the search.
        extrapolated: Whether some tasks were not measured, as measuring took long.
    """

    study: str
    question: str
    data: str
    splits: int
    device: str
    is_card: bool
    recipes: int
    is_whole: bool
    tasks: Mapping[str, int]
    direct: int
    trials: int
    stages_asked: int
    stages_trained: int
    updates_asked: int
    updates_trained: int
    workers: int
    seconds: float
    scoring_seconds: float
    device_seconds: float
    disk: int
    disk_limit: int | None
    cache: str
    detectable: float
    extrapolated: bool

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def as_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {**asdict(self), "tasks": dict(self.tasks)}

    def lines(self) -> list[str]:
        """For a person."""
        arms = ", ".join(f"{count} {arm}" for arm, count in self.tasks.items())
        of_all = "" if self.is_whole else " (a sample of more)"
        saved = 1 - self.updates_trained / self.updates_asked if self.updates_asked else 0.0
        lines = [
            f"{self.study}: {self.question}",
            f"data: {self.data}; {self.splits} splits are read",
            f"space: {self.recipes:,} recipes{of_all} with {arms} intermediate tasks",
            f"plan: about {self.direct} direct trainings, then {self.trials} trials: "
            f"{self.stages_asked:,} stages, of which {self.stages_trained:,} are trained "
            f"({self.updates_trained:,} updates; sharing saves {saved:.0%})",
            f"time: about {in_about(self.seconds)} on {self.device}, with {self.workers} "
            f"worker{'s' * (self.workers != 1)}; of the work {in_about(self.scoring_seconds)} is "
            f"scoring",
        ]
        if self.is_card:
            lines.append(f"GPU-hours: {self.device_seconds / 3600:.2f}")
        else:
            lines.append(f"GPU-hours: none; {in_about(self.device_seconds)} of workers' time")
        lines += [self._disk(), self._gain()]
        if self.extrapolated:
            lines.append("some tasks were not measured: they count as the mean of the others")
        return lines

    def _disk(self) -> str:
        need = self.disk if self.disk_limit is None else min(self.disk, self.disk_limit)
        line = f"disk: about {in_bytes(need)} of checkpoints in {self.cache}"
        if "://" in self.cache:
            return line
        place = Path(self.cache).absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        line += f", where {in_bytes(free)} are free"
        return f"{line}: too little; see --cache-limit" if need > free else line

    def _gain(self) -> str:
        return (
            f"gain that could be found: from about {self.detectable:.1f} points on the search "
            f"would tell a gain from none (95 %, where seeds scatter by 1.5 points); fewer takes "
            f"more --trials"
        )
