"""What a study has finished: trials with their scores, and recipes over all their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.baseline import Baseline
from spaces.dimensions import ARM_PARAM, TASK_PARAM, beside_task
from spaces.stage_specs import Aggregate
from spaces.studies import NO_INTERMEDIATE, SEARCH_SPLIT
from storage.ledger import Ledger
from storage.tables import PairedScore


@dataclass(frozen=True)
class FinishedTrial:
    """A complete trial and its scores."""

    trial: FrozenTrial
    gain: TransferGain


@dataclass(frozen=True)
class FinishedRecipe:
    """A recipe and all complete trials of it, which differ in their seeds.

    Attributes:
        trials: Complete trials of the recipe, in order.
    """

    trials: tuple[FinishedTrial, ...]

    @property
    def first(self) -> FrozenTrial:
        """The trial that tried it first, by whose number it is known."""
        return self.trials[0].trial

    @cached_property
    def gain(self) -> TransferGain:
        """Over all seeds, each counted once."""
        pairs = {place_of(pair): pair for item in self.trials for pair in item.gain.pairs}
        return TransferGain(tuple(pairs.values()), self.trials[0].gain.aggregate)

    @property
    def arm(self) -> str:
        """none, general, biomedical, legal or mixed."""
        return str(self.first.params[ARM_PARAM])

    @property
    def task(self) -> str:
        """The intermediate task or mixture; empty in the arm "none"."""
        return str(self.first.params.get(TASK_PARAM, ""))

    @property
    def in_words(self) -> str:
        """Its choices, as in `uner_ewt, intermediate.epochs 4, ..., panx at 2 epochs`."""
        rest = (f"{name} {value}" for name, value in beside_task(self.first.params).items())
        settings = self.gain.settings_in_words()
        return ", ".join((self.task or NO_INTERMEDIATE, *rest, settings))


def place_of(pair: PairedScore) -> tuple[int, str, str]:
    """Seed, target task and language of a score."""
    return pair.seed, pair.score.task, pair.score.language


def whole_trials(pairs: Mapping[int, Sequence[PairedScore]]) -> set[int]:
    """The trials that have a score in every target task and language that any of them has.

    All of a study's trials are scored alike: the mean of one that has lost some would be of less.
    """
    places = {number: {x.score.place[2:4] for x in scores} for number, scores in pairs.items()}
    every = set[tuple[str, str]]().union(*places.values())
    return {number for number, its in places.items() if its == every}


def finished_recipes(
    study: Study, ledger: Ledger, aggregate: Aggregate, baseline: Baseline | None
) -> list[FinishedRecipe]:
    """The recipes of a study's complete trials, in the order they were tried first.

    A trial whose scores the ledger has lost is left out (`search.findings.missing_rows` says so).

    Args:
        study: The study, or that of its direct trainings.
        ledger: Ledger in the same database.
        aggregate: How the study makes one figure of its target tasks' gains.
        baseline: What scores are held against; None: nothing yet.
    """
    pairs = ledger.pairs(study.study_name, SEARCH_SPLIT)
    whole = whole_trials(pairs)
    groups: dict[frozenset[tuple[str, object]], list[FinishedTrial]] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.number in whole:
            scores = tuple(pairs[trial.number])
            held = scores if baseline is None else baseline.over(scores)
            same = groups.setdefault(frozenset(trial.params.items()), [])
            same.append(FinishedTrial(trial, TransferGain(held, aggregate)))
    return [FinishedRecipe(tuple(group)) for group in groups.values()]
