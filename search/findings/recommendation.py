"""What is known of one recipe: its gains over the tuned baseline, and which recipe to hand over.

What a confirmation found on test splits goes before what the search saw: a recipe that leads on
validation was chosen by those very scores, which are too high for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from objectives.gains.intervals import Verdict
from objectives.gains.transfer_gain import TransferGain, in_points
from search.findings.judging import VerdictRow, judge_gains, means, recipe_names, verdict_line
from search.reporting.terminal import tuned_baseline
from search.studies.recipes import FinishedRecipe, leaders
from search.studies.stored_study import StoredStudy
from spaces.errors import DataError, StorageError, unknown_name
from spaces.studies import NO_INTERMEDIATE
from storage.tables import Confirmation, PairedScore, Score


@dataclass(frozen=True)
class Evidence:
    """A recipe and its scores beside those of the tuned baseline.

    Attributes:
        trial: The number of its first trial; of the tuned baseline, of the trial whose baseline
            it is.
        name: Of its intermediate task or mixture, or none.
        is_baseline: Whether it is the tuned baseline itself: the trial's target stage alone.
        pairs: Its scores; the tuned baseline's are the references.
        rows: Its gains: in the mean first, then each target task and language; none of the tuned
            baseline. The verdicts count only where there is a confirmation.
        confirmation: Which found this; None where it is what the search saw.
    """

    trial: int
    name: str
    is_baseline: bool
    pairs: tuple[PairedScore, ...]
    rows: tuple[VerdictRow, ...]
    confirmation: Confirmation | None = None

    @property
    def split(self) -> str:
        """Which its scores are of: validation or test."""
        return self.pairs[0].score.split

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its trainings, in order."""
        return tuple(sorted({pair.seed for pair in self.pairs}))

    def scores(self, task: str, seed: int) -> list[Score]:
        """Those of one model: of a target task and a seed."""
        return [x.score for x in self.pairs if x.seed == seed and x.score.task == task]


@dataclass(frozen=True)
class Choice:
    """A recipe, and in a sentence why this one."""

    evidence: Evidence
    reason: str


def recommended(results: StoredStudy) -> Choice:
    """The recipe that a study hands over.

    A confirmation decides: the recipe that helps most, or the tuned baseline where nothing helps.
    Before there is one, the leader of the search, or the tuned baseline if that is ahead.

    Raises:
        StorageError: The study has no complete trial, or its confirmation is not finished.
    """
    if looks := results.confirmations:
        if looks[-1].result is None:
            raise StorageError(
                f"study {results.name!r}: expected a confirmation that is finished, found one "
                f"begun on {looks[-1].begun_at[:10]}; `python -m search.confirm --study "
                f"{results.name}` goes on with it, --trial N hands over a recipe without it"
            )
        best = best_confirmed(results)
        assert best is not None
        if best.rows[0]["verdict"] == Verdict.HELPS:
            reason = f"confirmed: {_verdict(best)}"
            assert looks[-1].result is not None
            rows = means(looks[-1].result["verdicts"])
            if (helping := sum(row["verdict"] == Verdict.HELPS for row in rows)) > 1:
                reason += (
                    f", the highest gain of {helping} that help, and a little too high for that"
                )
            return Choice(best, reason)
        return Choice(
            _confirmed_baseline(results, looks[-1]),
            f"the confirmation found no intermediate task that helps ({_counted(looks[-1])}), so "
            f"this is the tuned baseline, without one",
        )
    best = best_of_search(results)
    gain = TransferGain(best.pairs, results.spec.target.aggregate)
    if round(gain.overall_gain(results.languages), 6) > 0:  # rounding in binary is no gain
        return Choice(best, "not confirmed: the leader of the search on validation splits")
    tuned = tuned_baseline(results.recipes, results.languages)
    assert tuned is not None
    pairs = tuple(replace(x, score=x.baseline, reference=x.baseline) for x in tuned.gain.pairs)
    return Choice(
        Evidence(tuned.first.number, NO_INTERMEDIATE, True, pairs, ()),
        "not confirmed: no intermediate task was ahead of the tuned baseline on validation "
        "splits, so this is the tuned baseline, without one",
    )


def of_trial(results: StoredStudy, trial: int) -> Choice:
    """The recipe of a complete trial, whatever speaks for it.

    Raises:
        UnknownNameError: There is none of that number.
    """
    recipes = {x.trial.number: recipe for recipe in results.recipes for x in recipe.trials}
    if trial not in recipes:
        known = [str(number) for number in sorted(recipes)]
        raise unknown_name("Trial", str(trial), known, f"a complete one of {results.name!r}")
    recipe = recipes[trial]
    for look in reversed(results.confirmations):
        if look.result and recipe.first.number in recipe_names(look.plan):
            found = confirmed(results, look, recipe.first.number)
            return Choice(found, f"asked for by number; confirmed: {_verdict(found)}")
    return Choice(of_search(results, recipe), "asked for by number; not confirmed")


def best_confirmed(results: StoredStudy) -> Evidence | None:
    """The recipe with the highest gain in the last finished confirmation, those that help first.

    None where nothing is confirmed.
    """
    finished = [look for look in results.confirmations if look.result]
    if not finished or finished[-1].result is None:
        return None
    rows = means(finished[-1].result["verdicts"])
    best = max(rows, key=lambda row: (row["verdict"] == Verdict.HELPS, row["gain"]))
    return confirmed(results, finished[-1], best["trial"])


def best_of_search(results: StoredStudy) -> Evidence:
    """The leader on validation splits.

    Raises:
        StorageError: There is no complete trial.
    """
    leading = leaders(results.recipes, results.languages)
    if not leading:
        raise StorageError(
            f"study {results.name!r}: expected a complete trial, found none; go on with the search"
        )
    return of_search(results, leading[0])


def confirmed(results: StoredStudy, look: Confirmation, trial: int) -> Evidence:
    """What a finished confirmation found of one of its recipes."""
    assert look.result is not None
    rows = tuple(row for row in look.result["verdicts"] if row["trial"] == trial)
    name = next(x["name"] for x in look.plan["recipes"] if x["trial"] == trial)
    return Evidence(trial, name, False, _test_pairs(results, look, trial), rows, look)


def of_search(results: StoredStudy, recipe: FinishedRecipe) -> Evidence:
    """What the search saw of a recipe, over the seeds that the tuned baseline was trained with.

    Raises:
        DataError: They have no seed in common.
    """
    tuned = tuned_baseline(results.recipes, results.languages)
    assert tuned is not None
    baseline = {(x.seed, x.score.task, x.score.language): x.baseline for x in tuned.gain.pairs}
    places = [(x.seed, x.score.task, x.score.language) for x in recipe.gain.pairs]
    pairs = tuple(
        replace(pair, reference=baseline[place])
        for pair, place in zip(recipe.gain.pairs, places, strict=True)
        if place in baseline
    )
    trial = recipe.first.number
    if not pairs:
        raise DataError(
            f"study {results.name!r}: expected a seed that trial {trial} and the tuned baseline "
            f"of trial {tuned.first.number} share, found none"
        )
    gains = {trial: TransferGain(pairs, recipe.gain.aggregate)}
    targets = results.spec.target_tasks(results.catalogue)
    languages = {x for task in targets for x in results.spec.target_languages(task)}
    rows = judge_gains(gains, results.ledger, results.catalogue, languages)
    return Evidence(trial, recipe.task or NO_INTERMEDIATE, False, pairs, tuple(rows))


def _confirmed_baseline(results: StoredStudy, look: Confirmation) -> Evidence:
    trial = next(iter(recipe_names(look.plan)))
    pairs = _test_pairs(results, look, trial)
    pairs = tuple(replace(x, score=x.reference, baseline=x.reference) for x in pairs)
    return Evidence(look.plan["baseline_trial"], NO_INTERMEDIATE, True, pairs, (), look)


def _test_pairs(results: StoredStudy, look: Confirmation, trial: int) -> tuple[PairedScore, ...]:
    pairs = results.ledger.pairs(results.name, "test")[trial]
    return tuple(pair for pair in pairs if pair.seed in look.plan["seeds"])


def _verdict(found: Evidence) -> str:
    return verdict_line(found.rows[0], f"trial {found.trial} ({found.name})")


def _counted(look: Confirmation) -> str:
    assert look.result is not None
    rows: Sequence[VerdictRow] = means(look.result["verdicts"])
    best = max(row["gain"] for row in rows)
    return f"{len(rows)} judged, the highest gain {in_points(best)} points"
