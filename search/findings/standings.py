"""Which recipe leads a search, and over which languages: decided once.

Recipes are selected on the languages that the study file names for it (`selection`): those of the
target tasks, or the source language alone. They are judged on the target languages in either
case, so that a study whose selection is zero-shot still answers the question that it asks. Page,
model card, `compare` and `confirm` all go by `Standings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from search.findings.study_model import StudyModel
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from spaces.catalogue import Catalogue
from spaces.studies import StudySpec


@dataclass(frozen=True)
class Standings:
    """How the recipes of a search stand to each other.

    Attributes:
        recipes: Recipes with an intermediate task that were run, by what the search model expects
            of them, the best first. Not by the mean of their runs: the best of many is a lucky
            one.
        selected_on: Languages (ISO 639-3) whose mean validation gain recipes are selected by.
        judged_on: Languages whose gains answer the study's question: those of its target tasks.
    """

    recipes: tuple[FinishedRecipe, ...]
    selected_on: frozenset[str]
    judged_on: frozenset[str]

    @property
    def leader(self) -> FinishedRecipe | None:
        """The recipe that leads all others; None before there is one."""
        return next(iter(self.recipes), None)


def standings_of(study: StoredStudy, model: StudyModel | None = None) -> Standings:
    """The standings of a stored study as it is now.

    Args:
        study: The study.
        model: Its model, where there is one already.
    """
    recipes: list[FinishedRecipe] = []
    if study.recipes:
        model = model or StudyModel(study)
        mean = model.of_all(study.languages).posterior.mean
        places = [(recipe, model.table.place(recipe.first.params)) for recipe in study.recipes]
        known = [(recipe, mean[place]) for recipe, place in places if place is not None]
        recipes = [recipe for recipe, _ in sorted(known, key=lambda x: -x[1])]
    judged_on = judged_languages(study.spec, study.catalogue)
    return Standings(tuple(recipes), study.languages, judged_on)


def judged_languages(spec: StudySpec, catalogue: Catalogue) -> frozenset[str]:
    """The languages that a study's gains are judged on: those of its target tasks."""
    tasks = spec.target_tasks(catalogue)
    return frozenset(language for task in tasks for language in spec.target_languages(task))
