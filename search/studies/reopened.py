"""A study opened again from what its storage keeps: to read it, or to train what it found."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import FixedTrial, TrialState

from objectives.data.sources import SourceKind, choose_source
from objectives.stages.stage import StageProgress
from objectives.transfer import TransferObjective
from search.studies.definition import build_objective, check_same, check_source, defining_facts
from search.studies.stored_study import open_results
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from storage.patient_storage import SharedStorage


@dataclass(frozen=True)
class ReopenedStudy:
    """A study as it was made, to be read and not to be gone on with.

    Attributes:
        study: In the storage.
        objective: Trains the recipes of its trials; its are the spec, the catalogue, the corpora
            and the ledger.
        space: What its trials chose from.
        storage: That it is in.
    """

    study: optuna.Study
    objective: TransferObjective
    space: SearchSpace
    storage: SharedStorage

    def recipe(self, trial_number: int) -> Recipe:
        """The recipe of a finished trial.

        Raises:
            StorageError: There is none of that number.
        """
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = {trial.number: trial.params for trial in trials}
        if trial_number not in finished:
            known = ", ".join(map(str, finished)) or "none"
            raise StorageError(
                f"study {self.study.study_name!r}: expected the number of a complete trial "
                f"({known}), found {trial_number}"
            )
        return suggest_recipe(FixedTrial(finished[trial_number]), self.space)


def reopen_study(
    options: argparse.Namespace, watch: Callable[[StageProgress], None]
) -> ReopenedStudy:
    """The study of `--study`, with the data and the encoder that it was made from.

    Args:
        options: `study`, `storage`, `cache`, `data`, `backbone`, `device` and `precision`.
        watch: Told of every update.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It was made by something else, or its data, encoder or precision is another
            now; says what differs.
    """
    results = open_results(options)
    spec, catalogue, frozen = results.spec, results.catalogue, results.frozen
    kind = frozen["data"]["source"]
    # Of folders only their content is kept, so they are found as in any other command.
    asked = kind if options.data == "auto" and kind != SourceKind.LOCAL else options.data
    needed = [(catalogue[task], language) for task, language, _ in spec.needed_splits(catalogue)]
    source = choose_source(asked, needed, spec.backbone)
    check_source(results.name, frozen, source.kind, results.shown_url)
    objective = build_objective(
        results.name, spec, catalogue, source, results.storage, options, watch
    )
    facts, space = defining_facts(objective)
    check_same(results.name, frozen, facts, results.shown_url)
    return ReopenedStudy(results.study, objective, space, results.storage)
