"""A study opened again from what its storage keeps: to read it, or to train what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import TrialState

from objectives.stages.stage import StageProgress
from objectives.transfer import TransferObjective
from search.command_line.requests import ReopenRequest
from search.studies.asked_again import asked_again
from search.studies.definition import check_same
from search.studies.direct_trainings import tuning_space
from search.studies.opening import TrainingSite, build_objective, define_study
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.dimensions import SearchSpace
from spaces.enumeration import point_of
from spaces.errors import StorageError
from spaces.recipe import Recipe


@dataclass(frozen=True)
class ReopenedStudy:
    """A study as it was made, to be read and not to be gone on with.

    Attributes:
        study: The study as its storage keeps it.
        objective: What trains the recipes of its trials; has the spec, the catalogue, the corpora
            and the ledger.
        space: The search space that its trials chose from.
    """

    study: StoredStudy
    objective: TransferObjective
    space: SearchSpace

    def recipe(self, trial_number: int) -> Recipe:
        """The recipe of a finished trial.

        Raises:
            StorageError: There is none of that number.
        """
        return self._recipe(self.study.optuna_study, trial_number, self.space)

    def seeds_of(self, trial_number: int) -> tuple[int, ...]:
        """The seeds that the recipe of a finished trial was run with, the trial's own first."""
        (mine,) = (
            (x.gain.seeds, recipe.gain.seeds)
            for recipe in self.study.recipes
            for x in recipe.trials
            if x.trial.number == trial_number
        )
        return tuple(dict.fromkeys(seed for seeds in mine for seed in seeds))

    def direct_training(self, trial_number: int) -> Recipe:
        """The recipe of a finished direct training.

        Raises:
            StorageError: There is none of that number.
        """
        return self._recipe(self.study.direct_study, trial_number, tuning_space(self.space))

    def _recipe(self, study: Study, trial_number: int, space: SearchSpace) -> Recipe:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = {trial.number: trial.params for trial in trials}
        if trial_number not in finished:
            known = ", ".join(map(str, finished)) or "none"
            raise StorageError(
                f"study {study.study_name!r}",
                expected=f"the number of a complete trial ({known})",
                found=str(trial_number),
            )
        point = point_of(space, finished[trial_number])
        assert point is not None, finished[trial_number]
        return point.recipe


def reopen_study(
    request: ReopenRequest, on_progress: Callable[[StageProgress], None]
) -> ReopenedStudy:
    """Open a study with the data and the encoder that it was made from.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It was made by something else, or its data, encoder or precision is another
            now; says what differs.
    """
    stored = open_stored_study(request.storage, request.study, backbone=request.backbone)
    asked = asked_again(stored, request.data)
    site = TrainingSite(request.storage, request.cache, request.device, request.precision)
    objective = build_objective(stored.name, asked, stored.storage, site, on_progress)
    definition_now, space = define_study(objective)
    check_same(stored.name, stored.definition, definition_now, stored.shown_url)
    if stored.baseline is not None:
        space = stored.baseline.space(space)
    return ReopenedStudy(stored, objective, space)
