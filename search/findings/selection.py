"""Which recipe leads a search, what the tuned baseline is, and over which languages: decided once.

Recipes are selected on the languages that the study file names for it (`selection`): those of the
target tasks, or the source language alone. They are judged on the target languages in either
case, so that a study whose selection is zero-shot still answers the question that it asks. Page,
model card, `compare` and `confirm` all go by `Standings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from objectives.gains.transfer_gain import TransferGain
from search.studies.recipes import (
    FinishedRecipe,
    FinishedTrial,
    finished_recipes,
    gain_of_all,
    place_of,
)
from search.studies.stored_study import StoredStudy
from search.studies.trial_notes import TrialNotes
from spaces.catalogue import Catalogue
from spaces.studies import NO_INTERMEDIATE, StudySpec
from storage.ledger import Ledger

# Scores nearer than this are equal.
TIE = 1e-9


@dataclass(frozen=True)
class DirectTraining:
    """A target stage without an intermediate task: a baseline, over all seeds it was trained with.

    Attributes:
        trials: Complete trials with this encoder and target stage, whichever arm they are of, in
            order. Each has trained, or found, this baseline with its own seeds.
    """

    trials: tuple[FinishedTrial, ...]

    @property
    def first(self) -> FrozenTrial:
        """The first trial that asked for it, by whose number it is known."""
        return self.trials[0].trial

    @property
    def task(self) -> str:
        """Empty: it has no intermediate task."""
        return ""

    @property
    def choices(self) -> dict[str, object]:
        """Its hyperparameters: name -> value."""
        return _direct_choices(self.first)

    @cached_property
    def gain(self) -> TransferGain:
        """Its scores over all seeds, each seed counted once, beside the reference baseline."""
        gain = gain_of_all(self.trials)
        return replace(gain, pairs=tuple(replace(x, score=x.baseline) for x in gain.pairs))


@dataclass(frozen=True)
class Standings:
    """How the recipes of a search stand to each other and to the tuned baseline.

    Attributes:
        recipes: All finished recipes, the leading one first (`leaders`).
        baseline: The tuned baseline; None before the first complete trial.
        selected_on: Languages (ISO 639-3) whose mean validation gain recipes are selected by.
        judged_on: Languages whose gains answer the study's question: those of its target tasks.
    """

    recipes: tuple[FinishedRecipe, ...]
    baseline: DirectTraining | None
    selected_on: frozenset[str]
    judged_on: frozenset[str]

    @property
    def leaders(self) -> list[FinishedRecipe]:
        """The recipes with an intermediate task, the leading one first.

        Those of the arm "none" lead nothing: the best of them is what the others are held against.
        """
        return [recipe for recipe in self.recipes if recipe.arm != NO_INTERMEDIATE]

    @property
    def leader(self) -> FinishedRecipe | None:
        """The recipe that leads all others; None before one with an intermediate task."""
        return next(iter(self.leaders), None)

    def leader_of(self, arm: str) -> FinishedRecipe | None:
        """The leading recipe of an arm with an intermediate task; None where it has none."""
        return next((recipe for recipe in self.leaders if recipe.arm == arm), None)

    def against_baseline(self, recipe: FinishedRecipe | DirectTraining) -> TransferGain | None:
        """A recipe's scores with the tuned baseline as reference, on the seeds that both have.

        Every gain over the tuned baseline that is shown of a search is of these pairs. None where
        they have no seed in common.
        """
        assert self.baseline is not None
        tuned = {place_of(pair): pair.score for pair in self.baseline.gain.pairs}
        pairs = tuple(
            replace(pair, reference=tuned[place])
            for pair in recipe.gain.pairs
            if (place := place_of(pair)) in tuned
        )
        return replace(recipe.gain, pairs=pairs) if pairs else None


def standings_of(study: StoredStudy) -> Standings:
    """The standings of a stored study as it is now."""
    return rank_recipes(study.recipes, study.spec, study.catalogue)


def rank_recipes(
    recipes: Sequence[FinishedRecipe], spec: StudySpec, catalogue: Catalogue
) -> Standings:
    """Decide which recipe leads, what the tuned baseline is, and over which languages."""
    selected_on = spec.selection_languages(catalogue)
    return Standings(
        recipes=tuple(leaders(recipes, selected_on)),
        baseline=tuned_baseline(recipes, selected_on),
        selected_on=selected_on,
        judged_on=judged_languages(spec, catalogue),
    )


def judged_languages(spec: StudySpec, catalogue: Catalogue) -> frozenset[str]:
    """The languages that a study's gains are judged on: those of its target tasks."""
    tasks = spec.target_tasks(catalogue)
    return frozenset(language for task in tasks for language in spec.target_languages(task))


def leaders(recipes: Iterable[FinishedRecipe], languages: frozenset[str]) -> list[FinishedRecipe]:
    """Recipes by gain, the best first; those that were repeated come before all others.

    A recipe leads the others because it is good or because its seeds were lucky; in fresh seeds
    luck does not last.
    """
    return sorted(
        recipes, key=lambda x: (x.is_repeated, x.gain.overall_gain(languages)), reverse=True
    )


def direct_trainings(recipes: Iterable[FinishedRecipe]) -> list[DirectTraining]:
    """Every target stage that was trained without an intermediate task, in order of first trials.

    Each trial trains one, as the baseline of its own recipe, so that arms other than "none" know
    direct trainings too. Trials with the same encoder and target stage share theirs.
    """
    groups: dict[frozenset[tuple[str, object]], list[FinishedTrial]] = {}
    trials = (item for recipe in recipes for item in recipe.trials)
    for item in sorted(trials, key=lambda x: x.trial.number):
        groups.setdefault(frozenset(_direct_choices(item.trial).items()), []).append(item)
    return [DirectTraining(tuple(group)) for group in groups.values()]


def tuned_baseline(
    recipes: Iterable[FinishedRecipe], languages: frozenset[str]
) -> DirectTraining | None:
    """The best direct training known; None where there is no recipe.

    The best is the one that has a higher mean score than most others, each compared on the seeds
    that both have, whichever arm asked for it and however often it was repeated: so a lucky seed
    counts for neither. Where that leaves a tie, more seeds decide, then the gain over the
    reference baseline. A direct training of few seeds may still be best by luck; `search.confirm`
    trains it anew.
    """
    trainings = direct_trainings(recipes)
    beaten = _beaten(
        [
            {seed: gain.overall_score(languages) for seed, gain in x.gain.by_seed().items()}
            for x in trainings
        ]
    )
    ranked = [
        (number, training.gain.seeds, training.gain.overall_gain(languages))
        for number, training in zip(beaten, trainings, strict=True)
    ]
    # The first of equals.
    best = max(range(len(trainings)), key=lambda i: (*ranked[i], -i), default=None)
    return None if best is None else trainings[best]


def repeat_candidates(
    study: Study, ledger: Ledger, spec: StudySpec, languages: frozenset[str]
) -> list[FinishedRecipe]:
    """The recipes that were tried with one set of seeds and may be worth fresh ones, best first.

    Those that were clearly behind are left out, and those whose repeat has begun.
    """
    recipes = finished_recipes(study, ledger, spec.target.aggregate)
    repeated = {TrialNotes.of(trial).repeat_of for trial in study.get_trials(deepcopy=False)}
    return [
        recipe
        for recipe in leaders(recipes, languages)
        if not (
            TrialNotes.of(recipe.first).stopped
            or recipe.is_repeated
            or recipe.first.number in repeated
        )
    ]


def _beaten(scores: Sequence[Mapping[int, float]]) -> list[int]:
    """How many others each has a higher mean score than, on the seeds that both have.

    Args:
        scores: Seed -> score, of each.
    """
    seeds = sorted({seed for of_one in scores for seed in of_one})
    table = np.array([[of_one.get(seed, np.nan) for seed in seeds] for of_one in scores])
    # A sum has the sign of the mean; what is below the tie is the order of a sum.
    return [int((np.nansum(row - table, axis=1) > TIE).sum()) for row in table]


def _direct_choices(trial: FrozenTrial) -> dict[str, object]:
    """The encoder and the target stage that a trial chose."""
    params: Mapping[str, object] = trial.params
    names = (name for name in params if not name.startswith("intermediate."))
    return {name: params[name] for name in names}
