"""The baseline of a study: the best direct training of each target task, which gains are over.

A study NAME begins with direct trainings, the trials of a study `NAME.baseline`; what they found
is kept once and never changes, so that every gain of the study has the same zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from objectives.gains.transfer_gain import TransferGain
from search.command_line.next_commands import BASELINE_SUFFIX
from search.studies.direct_trainings import MOST_RECIPES, RATE, best_by_task, reachable_rates
from spaces.dimensions import SearchSpace
from spaces.errors import DataError, StorageError
from spaces.studies import StudySpec
from storage.ledger import Ledger
from storage.tables import PairedScore, Score


def baseline_name(study_name: str) -> str:
    """Name in the storage of the direct trainings of a study."""
    return f"{study_name}{BASELINE_SUFFIX}"


def study_of_baseline(name: str) -> str | None:
    """The study whose direct trainings have this name; None for any other study."""
    return name.removesuffix(BASELINE_SUFFIX) if name.endswith(BASELINE_SUFFIX) else None


def deleted_direct_trainings(study_name: str, where: str) -> StorageError:
    """The error of a study whose direct trainings somebody deleted in Optuna."""
    return StorageError(
        where,
        f"study {baseline_name(study_name)!r}, the direct trainings of {study_name!r}",
        "none",
        "it was deleted; run the study under another --name",
    )


@dataclass(frozen=True)
class DirectTraining:
    """The best direct training of a target task.

    Attributes:
        trial: Number of its first trial among the direct trainings.
        params: Its choices, by the name of the parameter.
        seeds: Seeds that it was trained with.
        scores: Language -> mean score over these seeds, in [0, 1].
    """

    trial: int
    params: Mapping[str, Any]
    seeds: tuple[int, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Baseline:
    """What the gains of a study are over.

    Attributes:
        tasks: Target task -> its best direct training.
        learning_rates: Rates of the target stage that the study searches: those of its file, and
            those that direct training was tuned over.
        trials: Number of direct trainings.
        untuned: Where the best may lie beyond what was tried, a sentence each.
    """

    tasks: Mapping[str, DirectTraining]
    learning_rates: tuple[float, ...]
    trials: int
    untuned: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, as the ledger keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Baseline:
        """What `as_json` made."""
        tasks = {
            task: DirectTraining(**{**fields, "seeds": tuple(fields["seeds"])})
            for task, fields in kept["tasks"].items()
        }
        rates, untuned = tuple(kept["learning_rates"]), tuple(kept["untuned"])
        return cls(tasks, rates, kept["trials"], untuned)

    def over(self, pairs: Iterable[PairedScore]) -> tuple[PairedScore, ...]:
        """Scores held against the best direct training's mean score of the same language."""
        return tuple(replace(pair, reference=self._mean_of(pair)) for pair in pairs)

    def space(self, space: SearchSpace) -> SearchSpace:
        """The study's space with the learning rates that direct training was tuned over."""
        return space.with_target_rates(self.learning_rates)

    def _mean_of(self, pair: PairedScore) -> Score:
        score = self.tasks[pair.score.task].scores[pair.score.language]
        return replace(pair.score, checkpoint_key="", score=score, setting="", outcomes=b"")


def kept_baseline(study_name: str, ledger: Ledger) -> Baseline | None:
    """The baseline of a study; None before its direct trainings are done."""
    kept = ledger.frozen_study(baseline_name(study_name))
    return None if kept is None else Baseline.from_json(kept)


def choose_baseline(
    spec: StudySpec,
    space: SearchSpace,
    trainings: Sequence[tuple[int, Mapping[str, Any], TransferGain]],
    languages: Collection[str],
    trials: int,
    untried: int = 0,
) -> Baseline:
    """The baseline that the direct trainings of a study make, when all of them are done.

    Args:
        spec: The study.
        space: Its space, as its file has it.
        trainings: Number of its first trial, choices and scores over all its seeds, of each
            direct training that came to something.
        languages: Languages that the study selects on.
        trials: Number of direct trainings in all, seeds counted.
        untried: Those next to the best ones that were left out, as there were too many.

    Raises:
        DataError: None came to anything.
    """
    if not trainings:
        raise DataError(
            f"study {spec.name!r}",
            "a direct training that ends with scores",
            "none: all diverged or did not fit the device",
            "lower target.learning_rate or target.batch_size",
        )
    scores = {
        trial: [of_seed.scores_by_task(languages) for of_seed in gain.by_seed().values()]
        for trial, _, gain in trainings
    }
    by_trial = {trial: (params, gain) for trial, params, gain in trainings}
    best = {
        task: _direct_training(task, trial, *by_trial[trial])
        for task, trial in best_by_task(scores).items()
    }
    tried = {params[RATE] for _, params, _ in trainings if RATE in params}
    rates = tuple(sorted(tried.union(space.target.learning_rate)))
    untuned = [
        line
        for task, training in best.items()
        for line in _untuned(task, training, spec, space, by_trial[training.trial][1])
    ]
    if untried:
        untuned.append(
            f"{MOST_RECIPES} direct trainings were tried, and {untried} that differ from the best "
            f"in one choice were not; name fewer choices of the target stage"
        )
    return Baseline(best, rates, trials, tuple(untuned))


def _direct_training(
    task: str, trial: int, params: Mapping[str, Any], gain: TransferGain
) -> DirectTraining:
    scores = {language: mean for (name, language), mean in gain.scores().items() if name == task}
    return DirectTraining(trial, dict(params), gain.seeds, scores)


def _untuned(
    task: str, training: DirectTraining, spec: StudySpec, space: SearchSpace, gain: TransferGain
) -> list[str]:
    """Where a better direct training may lie beyond what was tried, in words."""
    lines = []
    rate, rates = training.params.get(RATE), reachable_rates(space.target.learning_rate)
    if rate is not None and rate in (rates[0], rates[-1]):
        end = "lowest" if rate == rates[0] else "highest"
        lines.append(
            f"{task}: direct training is best at {rate:g}, the {end} rate that was tried; name "
            f"others in target.learning_rate"
        )
    longest = f"{max(spec.target.epochs)} epochs"
    if len(spec.target.epochs) > 1 and gain.settings()[task] == [longest]:
        lines.append(
            f"{task}: direct training is best after {longest}, the most that the study has, with "
            f"every seed; name more in target.epochs"
        )
    return lines
