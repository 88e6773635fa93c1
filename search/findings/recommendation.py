"""What is known of one recipe: its gains over the tuned baseline, and which recipe to hand over.

What a confirmation found on test splits goes before what the search saw: a recipe that leads on
validation was chosen by those very scores, which are too high for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from objectives.gains.intervals import Verdict
from objectives.gains.transfer_gain import TransferGain, in_points
from search.command_line.next_commands import next_command
from search.findings.confirmation import ConfirmationResult, Look, finished, looks_of
from search.findings.judging import NO_VERDICTS, RecipeVerdict, Verdicts, judge_gains
from search.findings.selection import Standings, standings_of
from search.findings.verdict_words import verdict_line
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from spaces.errors import DataError, StorageError, unknown_name
from spaces.studies import NO_INTERMEDIATE
from storage.tables import PairedScore, Score


@dataclass(frozen=True)
class Evidence:
    """A recipe and its scores beside those of the tuned baseline.

    Attributes:
        trial: Number of its first trial; of the tuned baseline, of the trial whose target stage
            it is.
        name: Its intermediate task or mixture, or none.
        is_baseline: Whether it is the tuned baseline itself: the trial's target stage alone.
        pairs: Its scores, with the tuned baseline's as references.
        verdicts: On its gains; empty for the tuned baseline. What they say beyond the gain and
            its interval counts only where there is a confirmation.
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
        """The verdict on the recipe as a whole; the tuned baseline has none."""
        return self.verdicts.recipes[0]

    def scores(self, task: str, seed: int) -> list[Score]:
        """The scores of one model, that of a target task and a seed."""
        return [x.score for x in self.pairs if x.seed == seed and x.score.task == task]


@dataclass(frozen=True)
class Choice:
    """A recipe, and in a sentence why this one."""

    evidence: Evidence
    reason: str


def recommended(study: StoredStudy) -> Choice:
    """The recipe that a study hands over.

    A confirmation decides: the recipe that helps most, or the tuned baseline where nothing helps.
    Before there is one, the leader of the search, or the tuned baseline if that is ahead.

    Raises:
        StorageError: The study has no complete trial, or its confirmation is not finished.
    """
    looks = looks_of(study)
    if not looks:
        return _recommended_by_search(study)
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
            _confirmed_baseline(study, look),
            f"the confirmation found no intermediate task that helps ({len(gains)} judged, the "
            f"highest gain {highest} points), so this is the tuned baseline, without one",
        )
    reason = f"confirmed: {_verdict(best)}"
    helping = sum(gain.verdict is Verdict.HELPS for gain in gains)
    if helping > 1:
        reason += f", the highest gain of {helping} that help, and a little too high for that"
    return Choice(best, reason)


def _recommended_by_search(study: StoredStudy) -> Choice:
    standings = standings_of(study)
    tuned = standings.baseline
    if tuned is None:
        raise _nothing_finished(study, "a complete trial")
    if (leader := standings.leader) is not None:
        evidence = of_search(study, standings, leader)
        gain = TransferGain(evidence.pairs, study.spec.target.aggregate)
        # On the languages selected on: those that are judged must not choose. Rounding is no gain.
        if round(gain.overall_gain(standings.selected_on), 6) > 0:
            return Choice(evidence, "not confirmed: the leader of the search on validation splits")
    pairs = tuple(replace(pair, reference=pair.score) for pair in tuned.gain.pairs)
    return Choice(
        Evidence(tuned.first.number, NO_INTERMEDIATE, True, pairs),
        "not confirmed: the leading recipe with an intermediate task is not ahead of the tuned "
        "baseline on validation splits, so this is the tuned baseline, without one",
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
    return Choice(
        of_search(study, standings_of(study), recipe), "asked for by number; not confirmed"
    )


def best_confirmed(study: StoredStudy) -> Evidence | None:
    """The recipe with the highest gain in the last finished confirmation, those that help first.

    None where nothing is confirmed.
    """
    done = finished(looks_of(study))
    return _best_of_look(study, *done[-1]) if done else None


def best_of_search(study: StoredStudy) -> Evidence:
    """The leader on validation splits.

    Raises:
        StorageError: There is no complete trial with an intermediate task.
        DataError: It has no seed in common with the tuned baseline.
    """
    standings = standings_of(study)
    if standings.leader is None:
        raise _nothing_finished(study, "a complete trial with an intermediate task")
    return of_search(study, standings, standings.leader)


def _nothing_finished(study: StoredStudy, expected: str) -> StorageError:
    advice = f"go on with the search: `{next_command('run', study.address)}`"
    return StorageError(f"study {study.name!r}", expected, "none", advice)


def of_search(study: StoredStudy, standings: Standings, recipe: FinishedRecipe) -> Evidence:
    """What the search saw of a recipe, over the seeds that the tuned baseline was trained with.

    Raises:
        DataError: They have no seed in common.
    """
    trial = recipe.first.number
    gain = standings.against_baseline(recipe)
    if gain is None:
        assert standings.baseline is not None
        raise DataError(
            f"study {study.name!r}",
            f"a seed that trial {trial} and the tuned baseline of trial "
            f"{standings.baseline.first.number} share",
            "none",
        )
    verdicts = judge_gains({trial: gain}, study.ledger, study.catalogue, standings.judged_on)
    return Evidence(trial, recipe.task or NO_INTERMEDIATE, False, gain.pairs, verdicts)


def _best_of_look(study: StoredStudy, look: Look, result: ConfirmationResult) -> Evidence:
    best = max(
        result.verdicts.recipes, key=lambda x: (x.gain.verdict is Verdict.HELPS, x.gain.points)
    )
    return _confirmed(study, look, result, best.trial)


def _confirmed(study: StoredStudy, look: Look, result: ConfirmationResult, trial: int) -> Evidence:
    """What a finished confirmation found of one of its recipes."""
    (name,) = (recipe.name for recipe in look.plan.recipes if recipe.trial == trial)
    pairs = _test_pairs(study, look, trial)
    return Evidence(trial, name, False, pairs, result.verdicts.of_trial(trial), look)


def _confirmed_baseline(study: StoredStudy, look: Look) -> Evidence:
    pairs = _test_pairs(study, look, look.plan.recipes[0].trial)
    pairs = tuple(replace(x, score=x.reference, baseline=x.reference) for x in pairs)
    return Evidence(look.plan.baseline_trial, NO_INTERMEDIATE, True, pairs, confirmation=look)


def _test_pairs(study: StoredStudy, look: Look, trial: int) -> tuple[PairedScore, ...]:
    pairs = study.ledger.pairs(study.name, "test")[trial]
    return tuple(pair for pair in pairs if pair.seed in look.plan.seeds)


def _verdict(evidence: Evidence) -> str:
    return verdict_line(evidence.verdict, f"trial {evidence.trial} ({evidence.name})")
