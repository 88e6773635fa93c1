"""The loop of one worker: ask, train, record, tell, until the study has its trials."""

from __future__ import annotations

import signal
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from objectives.gain import TransferGain
from objectives.transfer import TransferObjective
from search.artifacts import ArtifactFolder, upload_trial
from search.finished import enqueue_repeat
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.errors import CacheError, DeviceMemoryError, DivergedError, Interrupted
from spaces.recipe import Recipe
from spaces.studies import SEARCH_SPLIT, Aggregate
from storage.backends import requeue
from storage.ledger import Ledger, StageRun
from storage.liveness import is_dead, process_identity

INTERRUPTED = "interrupted"


class Watcher(Protocol):
    """What the loop tells as it goes."""

    def trial_started(self, number: int, recipe: Recipe) -> None:
        """A trial has its recipe."""

    def trial_finished(self, trial: FrozenTrial, gain: TransferGain | None, done: int) -> None:
        """A trial was told; `gain` is None unless it is complete."""


@dataclass
class StopSignal:
    """Whether the run was asked to end, by Ctrl-C or SIGTERM.

    Attributes:
        number: The signal; 0 while there was none.
    """

    number: int = 0

    def check(self) -> None:
        """Raise where it is safe to end.

        Raises:
            Interrupted: The run was asked to end.
        """
        if self.number:
            raise Interrupted(f"interrupted by {signal.Signals(self.number).name}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the first signal; let the second one end the process at once."""
        wanted = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.getsignal(number) for number in wanted}

        def note(number: int, frame: types.FrameType | None) -> None:
            self.number = number
            for each in wanted:
                signal.signal(each, signal.SIG_DFL)

        for number in wanted:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number in wanted:
                signal.signal(number, previous[number])


def run_worker(
    study: Study,
    space: SearchSpace,
    objective: TransferObjective,
    ledger: Ledger,
    trials: int,
    watcher: Watcher,
    stop: StopSignal,
) -> None:
    """Run trials until the study has `trials` of them, or `stop` says so.

    The last of them repeat the leaders with fresh seeds (`StudySpec.repeat_leaders`). A trial that
    is clearly behind the best one after a seed has no further seeds: it is complete with those
    that it has, as Optuna advises for values that are means
    (https://optuna.readthedocs.io/en/stable/reference/generated/optuna.pruners.WilcoxonPruner.html).

    A diverged or too large recipe is told as pruned, so that the sampler avoids its like; a
    trial that is stopped, or whose worker died, is failed and queued again; one whose checkpoint
    cannot be written is failed.

    Args:
        study: Opened by `search.study.open_study`.
        space: What may be suggested.
        objective: Trains and scores a recipe.
        ledger: Keeps what a trial found, before Optuna is told.
        trials: In all, over all runs and workers.
        watcher: Shows progress.
        stop: Asked between updates.

    Raises:
        TransferSearchError: A trial met broken data or the like; it is failed with the reason.
    """

    def run_trial(trial: Trial) -> float:
        trial.set_user_attr("worker", process_identity())
        with _reason_kept(trial):
            stop.check()
            recipe = suggest_recipe(trial, space)
            if fresh := trial.user_attrs.get("seeds"):
                recipe = replace(recipe, seeds=tuple(fresh))
            watcher.trial_started(trial.number, recipe)
            runs: list[StageRun] = []

            def record(run: StageRun) -> None:
                runs.append(run)
                ledger.record_stage_run(study.study_name, trial.number, run)

            gain = objective(
                recipe, lambda index, gains: _go_on(trial, recipe, index, gains), record
            )
            ledger.record_trial(study.study_name, trial.number, gain.pairs)
            losses = ledger.losses({run.checkpoint_key for run in runs})
            upload_trial(trial, gain.pairs, runs, losses, folder)
            gains[trial.number] = gain
            return gain.overall_gain(languages)

    def after_trial(study: Study, trial: FrozenTrial) -> None:
        if trial.user_attrs.get("reason") == INTERRUPTED:
            requeue(study, trial, INTERRUPTED)
        watcher.trial_finished(trial, gains.pop(trial.number, None), count_done(study))

    languages = objective.spec.selection_languages(objective.catalogue)
    gains: dict[int, TransferGain] = {}
    folder = ArtifactFolder(objective.cache.location)
    while not stop.number:
        settle_dead_trials(study, ledger, languages, objective.spec.target.aggregate)
        running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        left = trials - count_done(study) - running
        if left <= 0:
            break
        # At most a fifth of the trials, or a short study would find nothing to repeat.
        if left <= min(objective.spec.repeat_leaders, trials // 5):
            enqueue_repeat(study, ledger, objective.spec, languages)
        study.optimize(
            run_trial, n_trials=1, catch=(Interrupted, CacheError), callbacks=[after_trial]
        )


def count_done(study: Study) -> int:
    """Finished trials, without those that were queued again."""
    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    return sum(
        trial.state.is_finished()
        and trial.number not in retried
        and trial.user_attrs.get("reason") != INTERRUPTED
        for trial in trials
    )


def settle_dead_trials(
    study: Study, ledger: Ledger, languages: frozenset[str], aggregate: Aggregate
) -> None:
    """Settle the trials that a killed process of this machine left running.

    One whose result is in the ledger already is told so; any other is failed and queued again.
    Trials of other machines are left to their heartbeat.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if worker is None or not is_dead(worker):
            continue
        pairs = ledger.pairs(study.study_name, SEARCH_SPLIT).get(trial.number)
        if pairs:
            value = TransferGain(tuple(pairs), aggregate).overall_gain(languages)
            study.tell(trial.number, value, skip_if_finished=True)
            continue
        try:
            Trial(study, trial._trial_id).set_user_attr("reason", "its worker was killed")
            study.tell(trial.number, state=TrialState.FAIL)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            continue  # another worker settled it first, and queued it again
        requeue(study, trial, "its worker was killed")


def _go_on(trial: Trial, recipe: Recipe, index: int, gains: Sequence[float]) -> bool:
    """Whether a trial should train its next seed, after that of `index`."""
    seed = recipe.seeds[index]
    for place, gain in enumerate(gains):
        trial.report(gain, seed * len(gains) + place)
    if index + 1 == len(recipe.seeds) or "repeat_of" in trial.user_attrs:
        return True
    with warnings.catch_warnings():
        # The best trial may have other seeds than this one; those that both have are compared.
        warnings.filterwarnings("ignore", "WilcoxonPruner finds steps existing")
        if not trial.should_prune():
            return True
    trial.set_user_attr("stopped", f"clearly behind the best trial after {index + 1} seed(s)")
    return False


@contextmanager
def _reason_kept(trial: Trial) -> Iterator[None]:
    """Keep why a trial ends otherwise than with a value; tell Optuna what is infeasible."""
    try:
        yield
    except (DivergedError, DeviceMemoryError) as error:
        trial.set_user_attr("reason", str(error))
        raise optuna.TrialPruned(str(error)) from error
    except Interrupted:
        trial.set_user_attr("reason", INTERRUPTED)
        raise
    except CacheError as error:
        trial.set_user_attr("reason", str(error))
        raise
    except BaseException as error:  # a bug, or Ctrl-C twice: kept, and passed on
        trial.set_user_attr("reason", f"{type(error).__name__}: {error}")
        raise
