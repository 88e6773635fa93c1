"""What a study will take, before anything of it is trained: `search.run --dry-run`.

The data are read and the encoder is loaded as the run would, in a folder that goes again; each
stage is trained for a few updates (`objectives.rehearsal`), and the study is simulated to see how
many of its stages are shared (`search.workers.simulated_study`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import psutil
import torch

from objectives.data.overlap import study_overlaps
from objectives.hardware import usable_cores
from objectives.rehearsal import (
    Clock,
    Rehearsal,
    SavedSize,
    ScoringTimes,
    StageTimes,
    shape_of,
)
from objectives.stages.stage import Position, StageProgress
from objectives.transfer import TransferObjective
from search.command_line.options import default_cache
from search.command_line.run_options import RunOptions
from search.findings.estimate import StudyEstimate
from search.studies.asked_study import AskedStudy
from search.studies.opening import TrainingSite, build_objective, define_study
from search.surrogate.recipe_table import build_table
from search.workers.local_processes import count_workers, device_share
from search.workers.simulated_study import (
    PlannedStage,
    PlannedWork,
    planned_work,
    simulate_study,
)
from spaces.dimensions import settings_of
from spaces.recipe import Stage
from storage.opening import open_storage

SIMULATIONS = 3
LONGEST_REHEARSAL = 300.0
"""Seconds after which further tasks are taken to be as quick as those that were measured."""


def estimate_study(
    options: RunOptions,
    asked: AskedStudy,
    on_step: Callable[[str], None] = lambda line: None,
    clock: Clock | None = None,
) -> StudyEstimate:
    """What a study will take on this machine.

    Args:
        options: What the run is asked for.
        asked: The study and its data.
        on_step: Told what is being done, in a line.
        clock: What times are measured with; None: the time of day, from the start of the process.

    Raises:
        TransferSearchError: As from the run itself: data, encoder or study are not as expected.
    """
    spec = asked.spec
    workers = count_workers(options.workers, options.workers_per_gpu, spec.backbone)
    torch.set_num_threads(options.threads or max(1, usable_cores() // workers))
    with _objective(options, asked) as objective:
        _, space = define_study(objective)
        on_step("looking for examples that training and scores share")
        study_overlaps(objective.corpora)
        opening = _since_start() if clock is None else clock()
        trials = options.trials or spec.trials
        on_step("simulating the study")
        simulated = [simulate_study(spec, space, trials, seed) for seed in range(SIMULATIONS)]
        paces = _Paces(Rehearsal(objective, clock or time.perf_counter), on_step)
        epochs = spec.intermediate.epochs
        work = [planned_work((*x.direct, *x.trials), epochs) for x in simulated]
        taken = [paces.of(each) for each in work]
        table = build_table(space)
        hardware = objective.hardware
        is_card = hardware.device.type == "cuda"
        share = device_share(workers, options.device) if is_card else 1.0
        training = fmean(each.seconds for each in taken)
        return StudyEstimate(
            study=options.name or spec.name,
            question=spec.question,
            data=f"{asked.source}, because {asked.source.reason}",
            splits=len(spec.needed_splits(asked.catalogue)),
            device=f"{hardware.name}, {hardware.precision}",
            is_card=is_card,
            recipes=len(table),
            is_whole=table.is_whole,
            tasks={arm: len(tasks) for arm, tasks in space.arms.items() if tasks},
            direct=round(fmean(len(x.direct) for x in simulated)),
            trials=trials,
            stages_asked=round(fmean(each.asked for each in work)),
            stages_trained=round(fmean(len(each.stages) for each in work)),
            updates_asked=round(fmean(each.updates_asked for each in work)),
            updates_trained=round(fmean(each.updates for each in work)),
            workers=workers,
            seconds=opening + training / workers,
            scoring_seconds=fmean(each.scoring for each in taken),
            device_seconds=share * training,
            disk=round(fmean(each.disk for each in taken)),
            disk_limit=options.cache_limit,
            cache=options.cache or default_cache(options.storage),
            detectable=fmean(x.detectable for x in simulated),
            extrapolated=paces.is_extrapolated,
        )


@contextmanager
def _objective(options: RunOptions, asked: AskedStudy) -> Iterator[TransferObjective]:
    """What would train the study, in a folder that goes again."""

    def on_progress(progress: StageProgress) -> None:
        """Nothing is shown."""

    with tempfile.TemporaryDirectory(prefix="transfer-search-") as place:
        folder = Path(place)
        url = f"sqlite:///{folder / 'rehearsal.sqlite'}"
        site = TrainingSite(
            url,
            str(folder / "cache"),
            options.device,
            options.precision,
            options.graphs,
        )
        with closing(open_storage(url)) as storage:
            yield build_objective(asked.spec.name, asked, storage, site, on_progress)


@dataclass(frozen=True)
class _Taken:
    """What planned work takes: seconds in all and of scoring, and bytes of checkpoints."""

    seconds: float
    scoring: float
    disk: int


@dataclass
class _Paces:
    """What stages take, each shape of each task measured once."""

    rehearsal: Rehearsal
    on_step: Callable[[str], None]
    is_extrapolated: bool = field(default=False, init=False)
    _times: dict[tuple[object, ...], StageTimes] = field(default_factory=dict, init=False)
    _first: dict[tuple[str, str], Stage] = field(default_factory=dict, init=False)
    _scoring: dict[tuple[object, ...], ScoringTimes] = field(default_factory=dict, init=False)
    _saving: dict[str, SavedSize] = field(default_factory=dict, init=False)
    _began: float = field(default_factory=time.perf_counter, init=False)

    def of(self, work: PlannedWork) -> _Taken:
        """What planned work takes."""
        seconds = scoring = 0.0
        disk, met = 0, set[tuple[object, ...]]()
        for planned in work.stages:
            stage, position = _stage_of(planned)
            backbone = planned.recipe.backbone
            if stage.epochs:
                times = self._stage(backbone, stage, position)
                seconds += planned.updates * times.update + times.around
                seconds += times.encoding * _is_new(met, (backbone, stage.task, position))
            if position == "target":
                passes = len(settings_of(stage, self.rehearsal.objective.spec.target))
                scored = self._score(backbone, stage)
                scoring += (passes if stage.epochs else 1) * scored.pass_
                scoring += scored.encoding * _is_new(met, (backbone, stage.task, "scored"))
            elif planned.saves:
                saved = self._saved(backbone, stage)
                seconds += planned.saves * saved.seconds
                disk += planned.saves * saved.weights + planned.with_state * saved.state
        return _Taken(seconds + scoring, scoring, disk)

    def _stage(self, backbone: str, stage: Stage, position: Position) -> StageTimes:
        """Times of a stage: its task is measured at one shape, other shapes with one task."""
        first = self._first.setdefault((backbone, position), stage)
        alike = replace(first, task=stage.task, examples=stage.examples, parts=stage.parts)
        mine = self._measured(backbone, alike, position)
        if shape_of(stage) == shape_of(first):
            return mine
        other = replace(stage, task=first.task, examples=first.examples, parts=first.parts)
        ratio = (
            self._measured(backbone, other, position).update
            / self._measured(backbone, first, position).update
        )
        return replace(mine, update=ratio * mine.update)

    def _measured(self, backbone: str, stage: Stage, position: Position) -> StageTimes:
        key = (backbone, position, stage.task, shape_of(stage))
        if key not in self._times:
            alike = [x for (b, p, *_), x in self._times.items() if (b, p) == key[:2]]
            if alike and time.perf_counter() - self._began > LONGEST_REHEARSAL:
                self.is_extrapolated = True
                self._times[key] = StageTimes(
                    *(fmean(getattr(x, name) for x in alike) for name in _TIMES)
                )
            else:
                self.on_step(f"a few updates of {position} {stage.task}")
                self._times[key] = self.rehearsal.stage(backbone, stage, position)
        return self._times[key]

    def _score(self, backbone: str, stage: Stage) -> ScoringTimes:
        key = (backbone, stage.task)
        if key not in self._scoring:
            self.on_step(f"scoring a little of {stage.task}")
            self._scoring[key] = self.rehearsal.scoring(backbone, stage)
        return self._scoring[key]

    def _saved(self, backbone: str, stage: Stage) -> SavedSize:
        if backbone not in self._saving:
            self.on_step("saving a checkpoint")
            self._saving[backbone] = self.rehearsal.saving(backbone, stage)
        return self._saving[backbone]


_TIMES = ("update", "around", "encoding")


def _stage_of(planned: PlannedStage) -> tuple[Stage, Position]:
    route = planned.recipe.routes[planned.route]
    if planned.place is None:
        return route.target, "target"
    return route.intermediate[planned.place], "intermediate"


def _is_new(met: set[tuple[object, ...]], key: tuple[object, ...]) -> bool:
    is_new = key not in met
    met.add(key)
    return is_new


def _since_start() -> float:
    """Seconds since the start of this process."""
    began: float = psutil.Process().create_time()
    return time.time() - began
