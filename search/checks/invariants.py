"""What must be true of a study whatever happened to its workers, its database and its disk.

Each check reads what the study left, in Optuna, in the ledger and in the cache, by itself: it
knows nothing of how workers keep their promises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.trial_notes import TrialNotes
from spaces.catalogue import Catalogue
from spaces.studies import SEARCH_SPLIT, StudySpec
from storage.checkpoints import CheckpointCache
from storage.ledger import Ledger
from storage.slots import Slots
from storage.tables import PairedScore

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SHOWN = 3


@dataclass(frozen=True)
class Invariant:
    """One thing that must be true.

    Attributes:
        name: What.
        violations: What speaks against it, in words; none: it holds.
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


@dataclass(frozen=True)
class Remains:
    """What a study left.

    Attributes:
        trials: All of Optuna's.
        pairs: The ledger's: trial number -> its scores.
        recorded: Numbers of the trials that the ledger has anything of.
        slots_done: How many slots are done.
        slots_open: Numbers of those that are not.
    """

    trials: Sequence[FrozenTrial]
    pairs: Mapping[int, Sequence[PairedScore]]
    recorded: Collection[int]
    slots_done: int
    slots_open: Sequence[int]

    def of_slot(self, slot: int) -> list[FrozenTrial]:
        """The attempts at a slot, in order."""
        return [trial for trial in self.trials if TrialNotes.of(trial).slot == slot]

    def finished(self, slot: int) -> list[FrozenTrial]:
        """Those of them that came to an end that counts."""
        return [trial for trial in self.of_slot(slot) if trial.state in FINISHED]


def read_remains(study: Study, ledger: Ledger, slots: Slots) -> Remains:
    """What a study left, read once."""
    return Remains(
        study.get_trials(deepcopy=False),
        ledger.pairs(study.study_name, SEARCH_SPLIT),
        ledger.recorded_trials(study.study_name),
        slots.count_done(),
        [slot.number for slot in slots.open_slots()],
    )


def check_study(
    remains: Remains, spec: StudySpec, catalogue: Catalogue, trials: int
) -> list[Invariant]:
    """Whether a study that has ended has each of its trials, once.

    Args:
        remains: What it left.
        spec: The study.
        catalogue: Its tasks.
        trials: How many it was to have.
    """
    return [
        _accounted(remains, trials),
        _lineage(remains, trials),
        _nothing_lost(remains, spec, catalogue, trials),
        _nothing_doubled(remains, trials),
        _budget(remains, trials),
        _agreement(remains, spec, catalogue),
    ]


def _accounted(remains: Remains, trials: int) -> Invariant:
    wrong = [f"slot {slot} is not done" for slot in remains.slots_open]
    if missing := trials - remains.slots_done - len(remains.slots_open):
        wrong.append(f"{missing} slots were never taken")
    for trial in remains.trials:
        if not trial.state.is_finished():
            wrong.append(f"trial {trial.number} is {trial.state.name}")
        if TrialNotes.of(trial).slot is None:
            wrong.append(f"trial {trial.number} has no slot")
        if trial.state is not TrialState.COMPLETE and not TrialNotes.of(trial).failure:
            wrong.append(f"trial {trial.number} has no value, and no reason why")
    states = Counter(trial.state.name for trial in remains.trials)
    found = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return Invariant("every trial accounted for", tuple(wrong), f"{trials} slots; trials: {found}")


def _lineage(remains: Remains, trials: int) -> Invariant:
    """From what a slot came to, back over each attempt before it to the first."""
    wrong, retries = [], 0
    by_number = {trial.number: trial for trial in remains.trials}
    for slot in range(trials):
        attempts = {trial.number for trial in remains.of_slot(slot)}
        for last in remains.finished(slot):
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
    remains: Remains, spec: StudySpec, catalogue: Catalogue, trials: int
) -> Invariant:
    wrong, rows = [], 0
    wanted = {
        (seed, task.name, language)
        for seed in spec.all_seeds
        for task in spec.target_tasks(catalogue)
        for language in spec.scored_languages(task)
    }
    for slot in range(trials):
        finished = remains.finished(slot)
        if not finished:
            reasons = [TrialNotes.of(trial).reason or "?" for trial in remains.of_slot(slot)]
            wrong.append(f"slot {slot} has no result ({'; '.join(reasons) or 'no trial'})")
        for trial in finished:
            found = {place_of(pair) for pair in remains.pairs.get(trial.number, ())}
            rows += len(found)
            if trial.state is TrialState.COMPLETE and (absent := wanted - found):
                wrong.append(f"trial {trial.number} lacks the scores of {sorted(absent)[:2]}")
    return Invariant("no result lost", tuple(wrong), f"{rows} scores in the ledger")


def _nothing_doubled(remains: Remains, trials: int) -> Invariant:
    wrong = []
    for slot in range(trials):
        numbers = [trial.number for trial in remains.finished(slot)]
        if len(numbers) > 1:
            wrong.append(f"slot {slot} has the trials {numbers}")
    for number, pairs in remains.pairs.items():
        if doubled := [x for x, n in Counter(map(place_of, pairs)).items() if n > 1]:
            wrong.append(f"trial {number} has {doubled[0]} twice")
    complete = {x.number for x in remains.trials if x.state is TrialState.COMPLETE}
    wrong += [
        f"trial {x} has results and failed" for x in sorted(set(remains.recorded) - complete)
    ]
    return Invariant("no result doubled", tuple(wrong), f"{len(complete)} complete trials")


def _budget(remains: Remains, trials: int) -> Invariant:
    over = overshoot(remains, trials)
    wrong = [f"{over} trials too many"] if over else []
    if remains.slots_done < trials:
        wrong.append(f"{trials - remains.slots_done} too few")
    return Invariant("budget exact", tuple(wrong), f"{remains.slots_done} done of {trials}")


def overshoot(remains: Remains, trials: int) -> int:
    """Slots, or finished trials, beyond those that were asked for."""
    finished = sum(trial.state in FINISHED for trial in remains.trials)
    return max(0, remains.slots_done + len(remains.slots_open) - trials, finished - trials)


def _agreement(remains: Remains, spec: StudySpec, catalogue: Catalogue) -> Invariant:
    """Values in Optuna are the gains that the ledger's scores make, to the last bit."""
    wrong, compared = [], 0
    languages = spec.selection_languages(catalogue)
    for trial in remains.trials:
        if trial.state is not TrialState.COMPLETE or trial.number not in remains.pairs:
            continue
        gain = TransferGain(tuple(remains.pairs[trial.number]), spec.target.aggregate)
        value = gain.overall_gain(languages)
        compared += 1
        if trial.value != value:
            wrong.append(f"trial {trial.number}: {trial.value} told, {value} in the ledger")
    return Invariant("ledger and study agree", tuple(wrong), f"{compared} values compared")


def check_cache(cache: CheckpointCache, torn: Collection[str]) -> Invariant:
    """Whether every checkpoint reads back whole, but those torn that nobody asked for since."""
    damaged = [Path(place).stem for place in cache.damaged()]
    wrong = [f"{key[:12]} is damaged, and nobody tore it" for key in damaged if key not in torn]
    left = sum(key in torn for key in damaged)
    found = f"{len(cache.entries())} whole; {len(torn)} torn"
    if torn:
        found += f", of which {len(torn) - left} made anew and {left} not asked for again"
    return Invariant("cache verifies", tuple(wrong), found)


def check_outbox(left: Sequence[Path]) -> Invariant:
    """Whether everything that waited for the database has been brought there."""
    wrong = tuple(f"{file.name} was never delivered" for file in left)
    return Invariant("nothing left undelivered", wrong, f"{len(left)} entries in the outbox")


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
    found = f"{equal} of {trials} rows equal to the last bit"
    if redrawn:
        found += f", {redrawn} drawn again, as another worker was at the recipe"
    return Invariant("table equals that of an undisturbed run", tuple(wrong), found)


def _row(remains: Remains, slot: int) -> dict[str, Any] | None:
    finished = remains.finished(slot)
    if len(finished) != 1:
        return None
    trial = finished[0]
    scores = {
        place_of(pair): (pair.score.score, pair.baseline.score, pair.reference.score)
        for pair in remains.pairs.get(trial.number, ())
    }
    return {
        "params": trial.params,
        "draw": TrialNotes.of(trial).draw,
        "state": trial.state,
        "value": trial.value,
        "scores": scores,
    }


def place_of(pair: PairedScore) -> tuple[int, str, str]:
    """Seed, task and language."""
    return pair.seed, pair.score.task, pair.score.language
