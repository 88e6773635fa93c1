"""The first phase of a study: direct trainings, until its baseline is tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from objectives.transfer import TransferObjective
from search.studies.baseline import Baseline, choose_baseline, kept_baseline
from search.studies.direct_trainings import DirectRun, Plan, plan_direct_trainings
from search.studies.identity import STUDY_ID
from search.studies.recipes import FinishedRecipe, finished_recipes
from search.studies.trial_notes import TrialNotes
from search.workers.heartbeat import Pulse
from search.workers.loop import Worker
from search.workers.search_model import DirectGain
from search.workers.trial_attempts import OpenStudy, RunListener
from spaces.dimensions import SearchSpace


@dataclass(frozen=True)
class BaselinePhase:
    """The direct trainings of a study.

    Attributes:
        name: Name of the study.
        opened: Its direct trainings, open for work.
        space: Space of the study, as its file has it.
        objective: Trains and scores a recipe.
        pulse: Sign of life of this process.
        listener: Listens to what the worker does.
        on_plan: Listener to the number of direct trainings that are known to be needed.
    """

    name: str
    opened: OpenStudy
    space: SearchSpace
    objective: TransferObjective
    pulse: Pulse
    listener: RunListener
    on_plan: Callable[[int, int], None]

    def run(self) -> Baseline:
        """Train what is missing, with whatever other workers there are; the baseline it makes.

        Raises:
            DataError: No direct training came to anything.
            TransferSearchError: As from `Worker.run`.
        """
        spec, ledger = self.opened.spec, self.opened.ledger
        while (kept := kept_baseline(self.name, ledger)) is None:
            plan = plan_direct_trainings(
                self.space, spec.first_seed, spec.baseline_seeds, self._found()
            )
            if plan.is_done:
                chosen = self._chosen(plan)
                direct = self.opened.study
                study_id = direct.user_attrs.get(STUDY_ID)
                ledger.freeze_study(direct.study_name, chosen.as_json(), study_id)
                continue
            self._work_at(plan.runs)
        return kept

    def _work_at(self, runs: tuple[DirectRun, ...]) -> None:
        opened = replace(self.opened, planned=runs)
        self.on_plan(opened.slots.count_done(), len(runs))
        Worker(opened, len(runs), self.objective, self.pulse, self.listener).run()

    def _recipes(self) -> list[FinishedRecipe]:
        opened = self.opened
        return finished_recipes(opened.study, opened.ledger, opened.spec.target.aggregate, None)

    def _found(self) -> list[Mapping[str, float] | None]:
        """Scores by target task of each slot, as far as all before it are done."""
        slots, languages = self.opened.slots, self.opened.languages
        # In this order: a slot that another worker takes and closes in between is not counted.
        done = slots.count_done()
        done = min((x.number for x in slots.open_slots()), default=done)
        by_slot = {
            TrialNotes.of(x.trial).slot: x.gain.scores_by_task(languages)
            for recipe in self._recipes()
            for x in recipe.trials
        }
        return [by_slot.get(slot) for slot in range(done)]

    def _chosen(self, plan: Plan) -> Baseline:
        trainings = [(x.first.number, x.first.params, x.gain) for x in self._recipes()]
        opened = self.opened
        return choose_baseline(
            *(opened.spec, self.space, trainings, opened.languages),
            *(len(plan.runs), plan.untried),
        )


def direct_gains(opened: OpenStudy, baseline: Baseline) -> tuple[DirectGain, ...]:
    """Gains of a study's direct trainings over its baseline, each seed by itself.

    Args:
        opened: The direct trainings.
        baseline: What they made.
    """
    recipes = finished_recipes(opened.study, opened.ledger, opened.spec.target.aggregate, baseline)
    return tuple(
        DirectGain(
            recipe.first.params,
            seed,
            gain.overall_gain(opened.languages),
            gain.by_task(opened.languages),
        )
        for recipe in recipes
        for seed, gain in recipe.gain.by_seed().items()
    )
