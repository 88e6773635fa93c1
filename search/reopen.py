"""A study opened again from what its storage keeps: to read it, or to train what it found."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import FixedTrial, TrialState

from objectives.corpora import SourceKind, choose_source
from objectives.transfer import StageProgress, TransferObjective
from search.arguments import existing_study
from search.study import build_objective, check_same, check_source, defining_facts
from spaces.catalogue import load_catalogue
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from spaces.records import parse
from spaces.studies import StudySpec
from storage.backends import open_storage, redacted
from storage.ledger import Ledger


@dataclass(frozen=True)
class ReopenedStudy:
    """A study as it was made, to be read and not to be gone on with.

    Attributes:
        study: In the storage.
        objective: Trains the recipes of its trials; its are the spec, the catalogue, the corpora
            and the ledger.
        space: What its trials chose from.
    """

    study: optuna.Study
    objective: TransferObjective
    space: SearchSpace

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
    storage = open_storage(options.storage, create=False)
    name, shown_url = existing_study(options, storage), redacted(options.storage)
    study = optuna.load_study(study_name=name, storage=storage)
    frozen, kept = Ledger(storage.engine).frozen_study(name), study.user_attrs.get("study_file")
    if frozen is None or kept is None:
        raise StorageError(
            f"storage {shown_url}: study {name!r} was not made by this version of "
            f"transfer-search, or its first run has not begun yet"
        )
    record = {"name": name, **json.loads(kept), **frozen["spec"]}
    if options.backbone:
        record["backbone"] = [options.backbone]
    spec = parse(StudySpec, record, f"study {name!r}")
    catalogue = load_catalogue().extended(spec.tasks, f"study {name!r}")
    kind = frozen["data"]["source"]
    # Of folders only their content is kept, so they are found as in any other command.
    asked = kind if options.data == "auto" and kind != SourceKind.LOCAL else options.data
    needed = [(catalogue[task], language) for task, language, _ in spec.needed_splits(catalogue)]
    source = choose_source(asked, needed, spec.backbone)
    check_source(name, frozen, source.kind, shown_url)
    objective = build_objective(name, spec, catalogue, source, storage, options, watch)
    facts, space = defining_facts(objective)
    check_same(name, frozen, facts, shown_url)
    return ReopenedStudy(study, objective, space)
