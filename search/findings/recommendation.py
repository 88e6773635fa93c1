"""What is known of one recipe: its gains over direct training, and which recipe to hand over.

What a confirmation found on test splits goes before what the search saw: a recipe that leads on
validation was chosen by those very scores, which are too high for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from objectives.gains.rules import Verdict
from objectives.gains.transfer_gain import TransferGain, in_points
from search.command_line.next_commands import next_command
from search.findings.answer import answer_of
from search.findings.confirmation import ConfirmationResult, Look, finished, looks_of
from search.findings.standings import judged_languages, standings_of
from search.findings.study_model import StudyModel
from search.findings.verdict_words import verdict_line
from search.findings.verdicts import NO_VERDICTS, CellVerdict, JudgedGain, RecipeVerdict, Verdicts
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from search.surrogate.choosing import Chooser
from search.surrogate.gains import Zero, expected_gains, gains_over
from spaces.errors import StorageError, unknown_name
from spaces.studies import NO_INTERMEDIATE
from storage.tables import PairedScore, Score

MODEL_SCOPE = "other seeds on these examples, by the search model"


@dataclass(frozen=True)
class RecipeEvidence:
    """A recipe and its scores beside those of the best direct training.

    Attributes:
        trial: Number of its first trial; of a direct training, among these.
        name: Its intermediate task or mixture, or none.
        is_baseline: Whether it is itself the best direct training, of a target task.
        pairs: Its scores, with those of the best direct training as references.
        verdicts: On its gains; empty for direct training. What they say beyond the gain and its
            interval counts only where there is a confirmation.
        confirmation: The look at the test splits that found this; None where the search did.
    """

    trial: int
    name: str
    is_baseline: bool
    pairs: tuple[PairedScore, ...]
    verdicts: Verdicts = NO_VERDICTS
    confirmation: Look | None = None

    @property
    def split(self) -> str:
        """The split that it was scored on: validation or test."""
        return self.pairs[0].score.split

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that it was trained with, in order."""
        return tuple(sorted({pair.seed for pair in self.pairs}))

    @property
    def verdict(self) -> RecipeVerdict:
        """The verdict on the recipe as a whole; direct training has none."""
        return self.verdicts.recipes[0]

    @property
    def margin(self) -> float:
        """Points below which its gains count as none; 0 before a confirmation."""
        return self.confirmation.plan.margin if self.confirmation else 0.0

    @property
    def paired(self) -> Verdicts:
        """Verdicts on its intermediate task itself; none before a confirmation."""
        result = self.confirmation and self.confirmation.result
        return result.paired.of_trial(self.trial) if result else NO_VERDICTS

    def scores(self, task: str, seed: int) -> list[Score]:
        """The scores of one model, that of a target task and a seed."""
        return [x.score for x in self.pairs if x.seed == seed and x.score.task == task]


@dataclass(frozen=True)
class Choice:
    """A recipe, and in a sentence why this one."""

    evidence: RecipeEvidence
    reason: str


def recommended(study: StoredStudy, task: str) -> Choice:
    """The recipe that a study hands over for one of its target tasks.

    A confirmation decides: the recipe that helps most, or direct training where nothing helps.
    Before there is one, what the search model expects most of in that task.

    Raises:
        StorageError: The study has no complete trial, or its confirmation is not finished.
    """
    looks = looks_of(study)
    if not looks:
        return _recommended_by_search(study, task)
    look, result = looks[-1], looks[-1].result
    if result is None:
        raise StorageError(
            f"study {study.name!r}",
            "a confirmation that is finished",
            f"one begun on {look.begun_at[:10]}",
            f"`{next_command('confirm', study.address)}` goes on with it, --trial N hands over "
            f"a recipe without it",
        )
    best = _best_of_look(study, look, result)
    gains = [verdict.gain for verdict in result.verdicts.recipes]
    if best.verdict.gain.verdict is not Verdict.HELPS:
        highest = in_points(max(gain.points for gain in gains))
        return Choice(
            _confirmed_baseline(study, look, task),
            f"the confirmation found no intermediate task that helps ({len(gains)} judged, the "
            f"highest gain {highest} points), so this is direct training",
        )
    reason = f"confirmed: {_verdict(best)}"
    helping = sum(gain.verdict is Verdict.HELPS for gain in gains)
    if helping > 1:
        reason += f", the highest gain of {helping} that help, and a little too high for that"
    return Choice(best, reason)


def _recommended_by_search(study: StoredStudy, task: str) -> Choice:
    if study.baseline is None:
        raise _nothing_finished(study, "a complete trial")
    model = StudyModel(study)
    found = answer_of(study, model)
    findings = found.by_task[task].values() if found else ()
    # By what recipes are selected on: labels of other languages must not choose.
    expected = expected_gains(model.of_task(task, study.languages), model.zero_of_task(task))
    recipes = [
        (recipe, model.table.place(recipe.first.params)) for x in findings if (recipe := x.recipe)
    ]
    known = [(expected[place], recipe) for recipe, place in recipes if place is not None]
    gain, best = max(known, key=lambda x: x[0], default=(0.0, None))
    if best is not None and gain > 0:
        reason = f"not confirmed: what the search expects most of in {task}"
        return Choice(of_search(study, best, model), reason)
    return Choice(
        _direct_training(study, task),
        "not confirmed: nothing with an intermediate task is expected to be better than direct "
        f"training in {task}, so this is direct training",
    )


def of_trial(study: StoredStudy, trial: int) -> Choice:
    """The recipe of a complete trial, whatever speaks for it.

    Raises:
        UnknownNameError: There is none of that number.
    """
    recipes = {x.trial.number: recipe for recipe in study.recipes for x in recipe.trials}
    if trial not in recipes:
        known = [str(number) for number in sorted(recipes)]
        raise unknown_name("Trial", str(trial), known, f"a complete one of {study.name!r}")
    recipe = recipes[trial]
    for look, result in reversed(finished(looks_of(study))):
        if recipe.first.number in look.plan.names:
            evidence = _confirmed(study, look, result, recipe.first.number)
            return Choice(evidence, f"asked for by number; confirmed: {_verdict(evidence)}")
    evidence = of_search(study, recipe, StudyModel(study))
    return Choice(evidence, "asked for by number; not confirmed")


def best_confirmed(study: StoredStudy) -> RecipeEvidence | None:
    """The recipe with the highest gain in the last finished confirmation, those that help first.

    None where nothing is confirmed.
    """
    done = finished(looks_of(study))
    return _best_of_look(study, *done[-1]) if done else None


def best_of_search(study: StoredStudy) -> RecipeEvidence:
    """The leader on validation splits.

    Raises:
        StorageError: There is no complete trial with an intermediate task.
    """
    model = StudyModel(study)
    leader = standings_of(study, model).leader
    if leader is None:
        raise _nothing_finished(study, "a complete trial with an intermediate task")
    return of_search(study, leader, model)


def _nothing_finished(study: StoredStudy, expected: str) -> StorageError:
    advice = f"go on with the search: `{next_command('run', study.address)}`"
    return StorageError(f"study {study.name!r}", expected, "none", advice)


def of_search(study: StoredStudy, recipe: FinishedRecipe, model: StudyModel) -> RecipeEvidence:
    """What the search saw of a recipe, as its model has it."""
    trial, judged_on = recipe.first.number, judged_languages(study.spec, study.catalogue)
    whole = _expected(recipe, model.of_all(judged_on), model.zero_of_all(judged_on), recipe.gain)
    cells = []
    for task, language in recipe.gain.by_language():
        if language in judged_on:
            chooser, zero = model.of_cell(task, language), model.zero_of_task(task)
            gain = _expected(recipe, chooser, zero, _of_cell(recipe.gain, task, language))
            cells.append(CellVerdict(trial, task, language, gain))
    verdicts = Verdicts((RecipeVerdict(trial, whole),), tuple(cells))
    return RecipeEvidence(trial, recipe.task, False, recipe.gain.pairs, verdicts)


def _of_cell(gain: TransferGain, task: str, language: str) -> TransferGain:
    place = task, language
    pairs = (x for x in gain.pairs if (x.score.task, x.score.language) == place)
    return replace(gain, pairs=tuple(pairs))


def _expected(
    recipe: FinishedRecipe, chooser: Chooser, zero: Zero, measured: TransferGain
) -> JudgedGain:
    """A gain as the search model has it, beside the scores that were measured."""
    row = chooser.table.place(recipe.first.params)
    assert row is not None, recipe.first.params
    known = gains_over(chooser, zero, np.array([row]))[0]
    examples = {(x.score.task, x.score.language): x.score.examples for x in measured.pairs}
    languages = frozenset(language for _, language in examples)
    score = 100 * measured.overall_score(languages)
    return JudgedGain(
        verdict=Verdict.UNDECIDED,
        points=known.points,
        low=known.low,
        high=known.high,
        p_value=None,
        detectable=None,
        seeds=len(measured.seeds),
        examples=sum(examples.values()),
        score=score,
        against=score - measured.overall_gain(languages),
        family=1,
        scope=MODEL_SCOPE,
    )


def _direct_training(study: StoredStudy, task: str) -> RecipeEvidence:
    """What is known of the best direct training of a target task."""
    assert study.baseline is not None
    trial = study.baseline.tasks[task].trial
    (pairs,) = (x.gain.pairs for x in study.direct if x.first.number == trial)
    return RecipeEvidence(trial, NO_INTERMEDIATE, True, pairs)


def _best_of_look(study: StoredStudy, look: Look, result: ConfirmationResult) -> RecipeEvidence:
    best = max(
        result.verdicts.recipes, key=lambda x: (x.gain.verdict is Verdict.HELPS, x.gain.points)
    )
    return _confirmed(study, look, result, best.trial)


def _confirmed(
    study: StoredStudy, look: Look, result: ConfirmationResult, trial: int
) -> RecipeEvidence:
    """What a finished confirmation found of one of its recipes."""
    (name,) = (recipe.name for recipe in look.plan.recipes if recipe.trial == trial)
    pairs = _test_pairs(study, look, trial)
    return RecipeEvidence(trial, name, False, pairs, result.verdicts.of_trial(trial), look)


def _confirmed_baseline(study: StoredStudy, look: Look, task: str) -> RecipeEvidence:
    pairs = []
    for pair in _test_pairs(study, look, look.plan.recipes[0].trial):
        assert pair.reference is not None
        pairs.append(replace(pair, score=pair.reference, baseline=pair.reference))
    trial = look.plan.baseline[task]
    return RecipeEvidence(trial, NO_INTERMEDIATE, True, tuple(pairs), confirmation=look)


def _test_pairs(study: StoredStudy, look: Look, trial: int) -> tuple[PairedScore, ...]:
    pairs = study.ledger.pairs(study.name, "test")[trial]
    judged = look.result.verdicts.gain_of(trial) if look.result else None
    # More may be trained by now than was judged: a confirmation that goes on.
    seeds = look.plan.seeds[: judged.seeds if judged else 0]
    return tuple(pair for pair in pairs if pair.seed in seeds)


def _verdict(evidence: RecipeEvidence) -> str:
    name = f"trial {evidence.trial} ({evidence.name})"
    return verdict_line(evidence.verdict, name, evidence.margin)
