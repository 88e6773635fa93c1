"""`python -m search.cost`: what a study asked for, and how much of it was really trained.

Asked for is what trials would take that share nothing: an intermediate stage, a target stage and
its baseline each, trained and scored from scratch. Seconds of a stage that was found are those
that its making took, on whatever machine that was.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from search.command_line.options import add_storage, fail_in_one_line
from search.studies.versions import existing_study
from storage.ledger import Ledger
from storage.tables import StageRun, TrainedStage

SHARED, PREFIX, BASELINE, EVALUATION = "shared stages", "prefixes", "baselines", "evaluations"
SAVINGS = (SHARED, PREFIX, BASELINE, EVALUATION)


@dataclass(frozen=True)
class Cost:
    """Work of any kind.

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
        trials: How many are complete.
        asked: What these would take if they shared nothing.
        saved: By `SAVINGS`: an intermediate or target stage found, a shorter one gone on from,
            a baseline found, scores found.
        spent_elsewhere: What was trained for trials that did not complete, or came to nothing.
    """

    trials: int = 0
    asked: Cost = Cost()
    saved: dict[str, Cost] = field(default_factory=lambda: dict.fromkeys(SAVINGS, Cost()))
    spent_elsewhere: Cost = Cost()

    @property
    def trained(self) -> Cost:
        """What the complete trials trained and scored themselves."""
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

    def table(self, title: str) -> Table:
        """All of it."""
        table = Table(title=title, title_justify="left", caption_justify="left")
        table.add_column("")
        for header in ("updates", "seconds", "share"):
            table.add_column(header, justify="right")

        def add(name: str, cost: Cost) -> None:
            share = cost.seconds / self.asked.seconds if self.asked.seconds else 0.0
            updates = f"{cost.updates:,}" if name != f"saved by {EVALUATION}" else ""
            table.add_row(name, updates, f"{cost.seconds:,.1f}", f"{share:.0%}")

        add("asked for", self.asked)
        for name, cost in self.saved.items():
            add(f"saved by {name}", cost)
        add("trained", self.trained)
        if self.spent_elsewhere.seconds:
            add("besides, for trials that did not complete", self.spent_elsewhere)
        table.caption = (
            f"{self.trials} complete trials; {self.ratio:.1f} times less than asked for"
        )
        return table


def study_cost(ledger: Ledger, study_name: str) -> StudyCost:
    """The cost of a study so far."""
    complete = ledger.recorded_trials(study_name)
    stages = ledger.trained_stages(study_name)
    cost = StudyCost(trials=len(complete))
    for trial, runs in ledger.stage_runs(study_name).items():
        for run in runs:
            if trial not in complete or not run.finished:
                cost.spent_elsewhere += _trained([run])
        if trial in complete:
            _add(cost, [run for run in runs if run.finished], stages)
    return cost


def _add(cost: StudyCost, runs: Iterable[StageRun], stages: Mapping[str, TrainedStage]) -> None:
    """Set off what one trial asked of each stage against what it trained for it."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.seed, run.position, run.task].append(run)
    for (_, position, _), group in groups.items():
        if position == "reference":  # asked for once, by whoever came first
            cost.asked += _trained(group)
            continue
        trained = sum(run.updates_trained for run in group)
        for run in group:
            if not run.updates_asked:
                continue
            stage = stages[run.checkpoint_key]
            training = Cost(run.updates_asked, stage.training_seconds)
            cost.asked += training + Cost(0, stage.scoring_seconds)
            if not trained:
                kind = BASELINE if position == "baseline" else SHARED
                cost.saved[kind] += training
                cost.saved[EVALUATION] += Cost(0, stage.scoring_seconds)
            elif trained < run.updates_asked:
                cost.saved[PREFIX] += training - _trained(group)


def _trained(runs: Iterable[StageRun]) -> Cost:
    return sum(
        (Cost(run.updates_trained, run.training_seconds + run.scoring_seconds) for run in runs),
        Cost(),
    )


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.cost", description="What a study asked for, trained and saved."
    )
    options.add_argument("--study", required=True, help="a study's name in the storage")
    add_storage(options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        from storage.opening import open_storage

        storage = open_storage(options.storage, create=False)
        name = existing_study(options.study, storage, options.storage)
        cost = study_cost(Ledger(storage.engine), name)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(cost.table(f"Cost of {name}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
