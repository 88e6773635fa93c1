"""What must be true of a study whatever happened to its workers, its database and its disk.

Each check reads what the study left, in Optuna, in the ledger and in the cache, by itself: it
knows nothing of how workers keep their promises. Of a study that is still worked at, what is not
done yet is not counted as missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.checks.remains import FINISHED, Expected, Remains
from search.studies.recipes import place_of
from search.studies.trial_notes import Failure, TrialNotes
from spaces.catalogue import Catalogue
from spaces.studies import StudySpec
from storage.checkpoints import CheckpointCache

COSTLY = (Failure.LOST, Failure.ERROR)
"""Kinds of failure that use up one of a slot's attempts."""
SHOWN = 3


@dataclass(frozen=True)
class Invariant:
    """One thing that must be true.

    Attributes:
        name: The claim, in a few words.
        violations: Findings against it, in words; none: it holds.
        found: What was looked at.
    """

    name: str
    violations: tuple[str, ...]
    found: str

    @property
    def is_held(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.violations

    def __str__(self) -> str:
        if self.is_held:
            return f"held    {self.name}: {self.found}"
        more = len(self.violations) - SHOWN
        shown = "; ".join(self.violations[:SHOWN]) + (f"; {more} more" if more > 0 else "")
        return f"BROKEN  {self.name}: {shown} ({self.found})"


def check_study(
    remains: Remains, spec: StudySpec, catalogue: Catalogue, expected: Expected
) -> list[Invariant]:
    """Whether a study has each of its trials, once."""
    return [
        _accounted(remains, expected),
        _lineage(remains),
        _nothing_lost(remains, spec, catalogue, expected),
        _nothing_doubled(remains, expected),
        _budget(remains, expected),
        _agreement(remains, spec, catalogue),
    ]


def _accounted(remains: Remains, expected: Expected) -> Invariant:
    wrong = []
    if expected.is_over:
        wrong += [f"slot {slot} is not done" for slot in remains.slots_open]
        if (missing := expected.trials - remains.slots_begun) > 0:
            wrong.append(f"{missing} slots were never taken")
    for trial in remains.trials:
        queued = "fixed_params" in trial.system_attrs
        if trial.state is TrialState.WAITING and queued:
            continue  # in the user's queue (`Study.enqueue_trial`)
        if trial.state.is_finished():
            if trial.state is not TrialState.COMPLETE and not TrialNotes.of(trial).failure:
                wrong.append(f"trial {trial.number} has no value, and no reason why")
        elif expected.is_over and TrialNotes.of(trial).worker not in expected.at_work:
            wrong.append(f"trial {trial.number} is {trial.state.name}")
        # What waited in the queue and does not fit the space is refused before it has a slot.
        if TrialNotes.of(trial).slot is None and not queued:
            wrong.append(f"trial {trial.number} has no slot")
    states = Counter(trial.state.name for trial in remains.trials)
    by_state = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return Invariant(
        "every trial accounted for",
        tuple(wrong),
        f"{expected.trials} slots; trials: {by_state or 'none'}",
    )


def _lineage(remains: Remains) -> Invariant:
    """From what a slot came to, back over each attempt before it to the first."""
    wrong, retries = [], 0
    by_number = {trial.number: trial for trial in remains.trials}
    for last in remains.trials:
        slot = TrialNotes.of(last).slot
        if slot is None or last.state not in FINISHED:
            continue
        attempts = {trial.number for trial in remains.by_slot[slot]}
        trial, seen = last, {last.number}
        while (before := TrialNotes.of(trial).retry_of) is not None:
            retries += 1
            if before in seen or before not in attempts:
                wrong.append(f"trial {trial.number} of slot {slot} retries trial {before}")
                break
            if by_number[before].params != last.params:
                wrong.append(f"trial {last.number} has not the parameters of {before}")
            trial = by_number[before]
            seen.add(before)
    return Invariant("lineage of every attempt whole", tuple(wrong), f"{retries} retries")


def _nothing_lost(
    remains: Remains, spec: StudySpec, catalogue: Catalogue, expected: Expected
) -> Invariant:
    wrong, rows, given_up = [], 0, 0
    for slot in expected.slots(remains):
        if remains.finished(slot):
            continue
        attempts = remains.by_slot.get(slot, [])
        failed = sum(TrialNotes.of(trial).failure in COSTLY for trial in attempts)
        if expected.attempts is not None and failed >= expected.attempts:
            given_up += 1
            continue
        reasons = [TrialNotes.of(trial).reason or "?" for trial in attempts]
        wrong.append(f"slot {slot} has no result ({'; '.join(reasons) or 'no trial'})")
    for trial in remains.trials:
        scored = {place_of(pair) for pair in remains.pairs.get(trial.number, ())}
        rows += len(scored)
        if trial.state is TrialState.COMPLETE:
            absent = _wanted(trial, spec, catalogue) - scored
            if absent:
                wrong.append(f"trial {trial.number} lacks the scores of {sorted(absent)[:2]}")
    looked_at = f"{rows} scores in the ledger"
    if given_up:
        looked_at += f"; {given_up} slots given up after {expected.attempts} failed attempts"
    return Invariant("no result lost", tuple(wrong), looked_at)


def _wanted(
    trial: FrozenTrial, spec: StudySpec, catalogue: Catalogue
) -> set[tuple[int | None, str, str]]:
    """The scores that a complete trial must have: seed, task, language."""
    return {
        (TrialNotes.of(trial).seed, task.name, language)
        for task in spec.target_tasks(catalogue)
        for language in spec.scored_languages(task)
    }


def _nothing_doubled(remains: Remains, expected: Expected) -> Invariant:
    wrong = []
    for slot in sorted(remains.by_slot):
        numbers = [trial.number for trial in remains.finished(slot)]
        if len(numbers) > 1:
            wrong.append(f"slot {slot} has the trials {numbers}")
    for number, pairs in remains.pairs.items():
        if doubled := [x for x, n in Counter(map(place_of, pairs)).items() if n > 1]:
            wrong.append(f"trial {number} has {doubled[0]} twice")
    states = {trial.number: trial.state for trial in remains.trials}
    for number in sorted(remains.recorded):
        state = states.get(number)
        if state in {TrialState.FAIL, TrialState.PRUNED}:
            wrong.append(f"trial {number} has results and failed")
        elif state is None and expected.is_over:  # one that was made since may have some
            wrong.append(f"trial {number} has results and does not exist")
    complete = sum(state is TrialState.COMPLETE for state in states.values())
    return Invariant("no result doubled", tuple(wrong), f"{complete} complete trials")


def _budget(remains: Remains, expected: Expected) -> Invariant:
    over = overshoot(remains, expected.trials)
    wrong = [f"{over} trials too many"] if over else []
    if expected.is_over and remains.slots_done < expected.trials:
        wrong.append(f"{expected.trials - remains.slots_done} too few")
    name = "budget exact" if expected.is_over else "budget kept to"
    return Invariant(name, tuple(wrong), f"{remains.slots_done} done of {expected.trials}")


def overshoot(remains: Remains, trials: int) -> int:
    """Slots, or finished trials, beyond those that were asked for."""
    finished = sum(trial.state in FINISHED for trial in remains.trials)
    return max(0, remains.slots_begun - trials, finished - trials)


def _agreement(remains: Remains, spec: StudySpec, catalogue: Catalogue) -> Invariant:
    """Values in Optuna are what the ledger's scores make, to the last bit."""
    wrong, compared = [], 0
    languages = spec.selection_languages(catalogue)
    for trial in remains.trials:
        if trial.state is not TrialState.COMPLETE or trial.number not in remains.pairs:
            continue
        pairs, baseline = tuple(remains.pairs[trial.number]), remains.baseline
        held = pairs if baseline is None else baseline.over(pairs)
        result = TransferGain(held, spec.target.aggregate)
        value = 100 * result.overall_score(languages)
        if baseline is not None:
            value = result.overall_gain(languages)
        compared += 1
        if trial.value != value:
            wrong.append(f"trial {trial.number}: {trial.value} in Optuna, {value} in the ledger")
    return Invariant("ledger and study agree", tuple(wrong), f"{compared} values compared")


def check_table(disturbed: Remains, undisturbed: Remains, trials: int) -> Invariant:
    """Whether each slot has the recipe and, to the last bit, the scores of an undisturbed run.

    A proposal that another worker was at is drawn again, and then is another one; that is allowed
    where the trial says so.
    """
    wrong, equal, redrawn = [], 0, 0
    for slot in range(trials):
        one, other = _row(disturbed, slot), _row(undisturbed, slot)
        if one is None or other is None:
            wrong.append(f"slot {slot} is missing")
        elif one == other:
            equal += 1
        elif one["params"] != other["params"]:
            if one["draw"]:
                redrawn += 1
            else:
                wrong.append(f"slot {slot}: {one['params']} and not {other['params']}")
        else:
            wrong.append(f"slot {slot}: value {one['value']} and not {other['value']}")
    counts = f"{equal} of {trials} rows equal to the last bit"
    if redrawn:
        counts += f", {redrawn} drawn again, as another worker was at the recipe"
    return Invariant("table equals that of an undisturbed run", tuple(wrong), counts)


def _row(remains: Remains, slot: int) -> dict[str, Any] | None:
    finished = remains.finished(slot)
    if len(finished) != 1:
        return None
    trial = finished[0]
    pairs = remains.pairs.get(trial.number, ())
    scores = {place_of(pair): pair.score.score for pair in pairs}
    return {
        "params": trial.params,
        "draw": TrialNotes.of(trial).draw,
        "state": trial.state,
        "value": trial.value,
        "scores": scores,
    }


def check_cache(cache: CheckpointCache, torn: Collection[str]) -> Invariant:
    """Whether every checkpoint reads back whole, but those torn that nobody asked for since."""
    damaged = _damaged(cache, None)
    wrong = [f"{key[:12]} is damaged, and nobody tore it" for key in damaged if key not in torn]
    left = sum(key in torn for key in damaged)
    counts = f"{len(cache.entries())} whole; {len(torn)} torn"
    if torn:
        counts += f", of which {len(torn) - left} made anew and {left} not asked for again"
    return Invariant("cache verifies", tuple(wrong), counts)


def check_checkpoints(cache: CheckpointCache, keys: Collection[str]) -> Invariant:
    """Whether what the cache has of a study's stages reads back whole.

    A stage that it has nothing of is not missed: it was evicted, or was never to be kept.

    Args:
        cache: May be shared with other studies, and in use.
        keys: Content addresses of the study's stages.
    """
    wrong = {
        **dict.fromkeys(cache.without_manifest(keys), "has files and no manifest"),
        **dict.fromkeys(_damaged(cache, keys), "is damaged"),
    }
    if wrong:  # a worker that evicts one meanwhile looks like it for a moment
        again = {*cache.without_manifest(wrong), *_damaged(cache, wrong)}
        wrong = {key: what for key, what in wrong.items() if key in again}
    whole = sum(entry.key in keys and entry.key not in wrong for entry in cache.entries())
    return Invariant(
        "checkpoints whole",
        tuple(f"{key[:12]} {what}" for key, what in sorted(wrong.items())),
        f"{whole} of the study's in {cache.location}",
    )


def check_outbox(left: Sequence[Path]) -> Invariant:
    """Whether everything that waited for the database has been brought there."""
    wrong = tuple(f"{file.name} was never delivered" for file in left)
    return Invariant("nothing left undelivered", wrong, f"{len(left)} entries in the outbox")


def _damaged(cache: CheckpointCache, keys: Collection[str] | None) -> list[str]:
    return [Path(place).stem for place in cache.damaged(keys)]
