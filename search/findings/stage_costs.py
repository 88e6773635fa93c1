"""What a study asked for, and how much of it was really trained.

Asked for is what trials would take that share nothing: intermediate stages and target stages
each, trained and scored from scratch; of direct trainings target stages. The seconds of a stage
that was reused are those that training it took, on whatever machine that was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from search.findings.missing_rows import missing_lines
from search.studies.baseline import baseline_name
from search.studies.identity import recognise
from search.studies.versions import existing_study
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import StageRun, TrainedStage
from storage.urls import redacted

SHARED, PREFIX, EVALUATION = "shared stages", "prefixes", "evaluations"
SAVINGS = (SHARED, PREFIX, EVALUATION)


@dataclass(frozen=True)
class Cost:
    """An amount of work.

    Attributes:
        updates: Optimizer steps.
        seconds: Wall seconds of training and scoring.
    """

    updates: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.updates + other.updates, self.seconds + other.seconds)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.updates - other.updates, self.seconds - other.seconds)


@dataclass
class StudyCost:
    """What the trials of a study cost; asked for = saved + trained.

    Attributes:
        trials: Number of complete trials, direct trainings among them.
        asked: Work that the complete trials would take if they shared nothing.
        saved: Kind of saving (`SAVINGS`) -> work that reuse saved: of whole stages, of shorter
            stages trained on, and of scores.
        spent_elsewhere: Work on trials that did not complete, or on stages never finished.
    """

    trials: int = 0
    asked: Cost = Cost()
    saved: dict[str, Cost] = field(default_factory=lambda: dict.fromkeys(SAVINGS, Cost()))
    spent_elsewhere: Cost = Cost()

    @property
    def trained(self) -> Cost:
        """Work that the complete trials did themselves."""
        return self.asked - sum(self.saved.values(), Cost())

    @property
    def ratio(self) -> float:
        """Seconds asked for per second trained; 1 where nothing was trained."""
        return self.asked.seconds / self.trained.seconds if self.trained.seconds > 0 else 1.0

    def in_words(self) -> str:
        """One line for the end of a run."""
        savings = ", ".join(f"{name} {cost.seconds:.0f} s" for name, cost in self.saved.items())
        return (
            f"cost: {self.trained.seconds:.0f} s trained of {self.asked.seconds:.0f} s asked for "
            f"({self.ratio:.1f} times less); saved by {savings}"
        )


def study_cost(ledger: Ledger, study_name: str) -> StudyCost:
    """The cost of a study so far, with the direct trainings that its baseline was chosen from."""
    cost = StudyCost()
    for name in (baseline_name(study_name), study_name):
        complete = ledger.recorded_trials(name)
        stages = ledger.trained_stages(name)
        cost.trials += len(complete)
        for trial, runs in ledger.stage_runs(name).items():
            for run in runs:
                if trial not in complete or not run.finished:
                    cost.spent_elsewhere += _trained([run])
            if trial in complete:
                _add(cost, [run for run in runs if run.finished], stages)
    return cost


def cost_of_stored(storage_url: str, study: str) -> tuple[str, StudyCost, list[str]]:
    """The name of a stored study in its storage, its cost so far, and what is missing of it.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: There is no such storage.
    """
    storage = open_storage(storage_url, create=False)
    name = existing_study(study, storage, storage_url)
    recognise(name, storage, redacted(storage_url))
    cost = study_cost(Ledger(storage.engine), name)
    return name, cost, missing_lines(name, storage)


def _add(cost: StudyCost, runs: Iterable[StageRun], stages: Mapping[str, TrainedStage]) -> None:
    """Set off what one trial asked of each stage against what it trained for it."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.seed, run.position, run.task].append(run)
    for group in groups.values():
        trained = sum(run.updates_trained for run in group)
        for run in group:
            if not run.updates_asked or run.checkpoint_key not in stages:
                continue
            stage = stages[run.checkpoint_key]
            training = Cost(run.updates_asked, stage.training_seconds)
            cost.asked += training + Cost(0, stage.scoring_seconds)
            if not trained:
                cost.saved[SHARED] += training
                cost.saved[EVALUATION] += Cost(0, stage.scoring_seconds)
            elif trained < run.updates_asked:
                cost.saved[PREFIX] += training - _trained(group)


def _trained(runs: Iterable[StageRun]) -> Cost:
    return sum(
        (Cost(run.updates_trained, run.training_seconds + run.scoring_seconds) for run in runs),
        Cost(),
    )
