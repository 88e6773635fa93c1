"""One run of a study on its open storage: what is opened, in which order, and what is shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean

import torch
from optuna import get_all_study_names
from optuna.study import Study
from optuna.trial import TrialState
from rich.console import Console

from objectives.data.overlap import describe_overlap, study_overlaps
from objectives.data.study_corpora import StudyCorpora
from objectives.hardware import usable_cores
from objectives.stages.stage import StageProgress
from objectives.transfer import TransferObjective
from search.command_line.lines import print_lines
from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.requests import request_from
from search.command_line.run_options import RunOptions
from search.command_line.stop_signal import GRACE_SECONDS, StopSignal, ending_at_once
from search.findings.baseline_words import baseline_lines
from search.reporting.terminal import show_results
from search.studies.asked_study import AskedStudy
from search.studies.baseline import baseline_name, kept_baseline
from search.studies.definition import StudyDefinition, kept_definition
from search.studies.direct_trainings import tuning_space
from search.studies.identity import recognise
from search.studies.opening import (
    TrainingSite,
    build_objective,
    define_study,
    open_direct_trainings,
    open_study,
    provenance,
)
from search.studies.stored_study import StoredStudy
from search.studies.versions import newest_version
from search.surrogate.recipe_table import build_table, updates_of
from search.workers.baseline_phase import BaselinePhase, direct_gains
from search.workers.callbacks import CallbackListener, Callbacks, RunCallback
from search.workers.card_sharing import shared_cards
from search.workers.finished import next_steps, spelled_again
from search.workers.forecast import Typical
from search.workers.heartbeat import Budget, Pulse
from search.workers.local_processes import count_workers, device_share, fellow_workers
from search.workers.loop import Worker
from search.workers.progress import RunProgress
from search.workers.search_model import ModelledSpace
from search.workers.trial_attempts import OpenStudy
from spaces.dimensions import SearchSpace
from spaces.enumeration import Point, points
from spaces.errors import BudgetSpent, Interrupted
from spaces.studies import Sampler
from spaces.study_checks import unlike_arms
from storage.ledger import Ledger
from storage.outages import asking
from storage.patient_storage import SharedStorage
from storage.slots import Slots
from storage.urls import redacted
from storage.workers import Workers

_log = logging.getLogger(__name__)
# Lines at the start of a new study; the worst come first.
SHOWN_OVERLAPS = 8
# Recipes that a typical run is the mean of, at most.
TYPICAL = 500
# In the study's attribute, which is to stay readable.
KEPT_OVERLAPS = 200


class Session:
    """A run on its open storage.

    Args:
        options: What the run was asked for.
        asked: The study and its data.
        storage: Storage of the study, from `open_storage`.
        stop: Whether somebody asked the run to end.
        console: Console for what a person sees.
        callbacks: Callbacks that are told of each stage and each run.
    """

    def __init__(
        self,
        options: RunOptions,
        asked: AskedStudy,
        storage: SharedStorage,
        stop: StopSignal,
        console: Console,
        callbacks: Sequence[RunCallback] = (),
    ) -> None:
        self._options, self._asked, self._storage = options, asked, storage
        self._stop, self._console = stop, console
        spec, catalogue = asked.spec, asked.catalogue
        self._trials = options.trials or spec.trials
        self._workers = count_workers(
            options.workers, options.workers_per_gpu, spec.backbone, self._say
        )
        self._languages = spec.selection_languages(catalogue)
        self._name = newest_version(options.name or spec.name, storage)
        if self._name in get_all_study_names(storage):
            recognise(self._name, storage, redacted(options.storage))
        self._progress = RunProgress(console, self._languages)
        self._callbacks = Callbacks(callbacks)
        self._listeners = list[CallbackListener]()
        hours = options.gpu_hours
        self._pulse = Pulse(
            Workers(storage.engine, self._name),
            Budget(self._trials, hours and 3600 * hours, options.timeout),
            stop,
            options.device_share * device_share(self._workers, options.device),
            options.lease,
        )

    def run(self) -> int:
        """Work until the study is done or something ends the work.

        Returns:
            0 when the study has all its trials, 128 + the signal's number when one ended the run.

        Raises:
            TransferSearchError: Something the user gave is wrong.
        """
        with shared_cards(self._workers, self._options.device, self._say):
            return self._run()

    def _say(self, line: str) -> None:
        print_lines(self._console, line)

    def _run(self) -> int:
        options = self._options
        threads = options.threads or max(1, usable_cores() // self._workers)
        torch.set_num_threads(threads)
        objective = self._objective()
        objective.cache.check_writable()
        slots = Slots(self._storage.engine, objective.leases, self._name)
        study, ended = None, None
        with (
            self._stop.listening(self._last_words, GRACE_SECONDS),
            self._progress.showing(),
            asking(self._stop.check),
            self._callbacks.until_the_end(),
        ):
            try:
                definition, space = self._defined(objective)
                study = self._opened(objective, definition)
                with (
                    self._pulse.beating(objective.hardware.name),
                    fellow_workers(options, self._workers, threads, self._stop),
                ):
                    self._work(study, slots, objective, definition, space)
            except Interrupted as error:
                ended = error
            with suppress(Interrupted):  # the database is away, and nobody waits for it
                for listener in self._listeners:
                    listener.catch_up()
        if options.fellow:
            return self._code
        if self._stop.number:
            print_lines(self._console, *self._last_words().splitlines())
        elif study is not None:
            steps = [] if options.quiet else next_steps(self._address, options, self._trials)
            with ending_at_once("interrupted; the study is complete"):
                show_results(self._stored(study, objective.ledger), steps)
        if isinstance(ended, BudgetSpent):
            done = slots.count_done()
            self._say(f"{ended}: {done} of {self._trials} trials are done")
        return self._code

    @property
    def _code(self) -> int:
        return 128 + self._stop.number if self._stop.number else 0

    @property
    def _address(self) -> StudyAddress:
        name = self._options.name or self._asked.spec.name
        return self._options.study_address(name, self._asked.data)

    def _last_words(self) -> str:
        """What an interruption leaves, and how to go on."""
        wanted = ("--trials", str(self._options.trials)) if self._options.trials else ()
        more = spelled_again(self._options)
        command = next_command("run", self._address, *wanted, *more)
        return f"interrupted: {self._progress.kept()}\ngo on with {command}"

    def _defined(self, objective: TransferObjective) -> tuple[StudyDefinition, SearchSpace]:
        splits = len(self._asked.spec.needed_splits(self._asked.catalogue))
        with self._progress.waiting(f"reading {splits} splits and the encoder"):
            return define_study(objective)

    def _work(
        self,
        study: Study,
        slots: Slots,
        objective: TransferObjective,
        definition: StudyDefinition,
        space: SearchSpace,
    ) -> None:
        """Tune the baseline, then search."""
        spec, storage, ledger = self._asked.spec, self._storage, objective.ledger
        baseline = kept_baseline(self._name, ledger)
        trainings = OpenStudy(
            open_direct_trainings(self._name, storage, ledger, definition),
            storage,
            ledger,
            Slots(storage.engine, objective.leases, baseline_name(self._name)),
            tuning_space(space),
            spec,
            self._languages,
        )
        progress, pulse = self._progress, self._pulse
        progress.expect(_typical_runs(space), self._trials)
        if baseline is None:
            listener = self._listening_at(trainings)
            phase = BaselinePhase(
                *(self._name, trainings, space, objective, pulse, listener),
                on_plan=lambda done, total: progress.begin("direct training", done, total),
            )
            baseline = phase.run()
        space = baseline.space(space)
        progress.expect(_typical_runs(space), self._trials)
        modelled = None
        if spec.sampler is Sampler.TRANSFER or self._options.until is not None:
            best = tuple(training.params for training in baseline.tasks.values())
            modelled = ModelledSpace(
                build_table(space),
                direct_gains(trainings, baseline),
                best,
                tuple(x.params for x in trainings.trials(TrialState.PRUNED)),
            )
        opened = replace(
            trainings,
            study=study,
            slots=slots,
            space=space.indirect(),
            baseline=baseline,
            modelled=modelled,
        )
        progress.begin("trial", slots.count_done(), self._trials)
        for line in baseline_lines(baseline):
            progress.say(line)
        listener = self._listening_at(opened)
        Worker(opened, self._trials, objective, pulse, listener, self._options.until).run()

    def _listening_at(self, opened: OpenStudy) -> CallbackListener:
        """What listens to the worker at the study, or at its direct trainings."""
        listener = CallbackListener(
            *(self._progress, self._callbacks, self._name, opened), self._workers > 1
        )
        self._listeners.append(listener)
        return listener

    def _objective(self) -> TransferObjective:
        options, pulse, progress = self._options, self._pulse, self._progress

        def on_progress(stage: StageProgress) -> None:
            pulse.check()
            pulse.note(f"{stage.position} {stage.task} seed {stage.seed}", stage.done, stage.total)
            progress.on_stage(stage)

        site = request_from(vars(options), TrainingSite)
        objective = build_objective(self._name, self._asked, self._storage, site, on_progress)
        hardware = objective.hardware
        self._say(
            f"device: {hardware.name}, {hardware.precision}; storage: "
            f"{redacted(options.storage)}, study {self._name!r}; checkpoints: "
            f"{objective.cache.location}"
        )
        return objective

    def _opened(self, objective: TransferObjective, definition: StudyDefinition) -> Study:
        """The study, created where it is new."""
        options, ledger = self._options, objective.ledger
        about = provenance(objective) | {"address": json.dumps(self._address.kept())}
        if ledger.frozen_study(self._name) is None:
            with self._progress.waiting("looking for examples that training and scores share"):
                about |= _noted(objective.corpora)
        return open_study(
            self._name, self._storage, ledger, definition, about, redacted(options.storage)
        )

    def _stored(self, study: Study, ledger: Ledger) -> StoredStudy:
        definition = kept_definition(self._name, ledger)
        assert definition is not None, self._name
        return StoredStudy(
            self._storage,
            self._options.storage,
            study,
            ledger,
            definition,
            self._asked.spec,
        )


def _typical_runs(space: SearchSpace) -> Typical:
    """The mean run of either kind of a study's recipes."""
    direct, trials = (points(x, TYPICAL)[0] for x in (space.direct(), space.indirect()))
    return Typical(_mean_updates(direct), _mean_updates(trials))


def _mean_updates(some: Sequence[Point]) -> float:
    return max(1.0, fmean(updates_of(point.recipe) for point in some))


def _noted(corpora: StudyCorpora) -> dict[str, str]:
    """What a reader of a new study should know of its arms and corpora; the worst is said."""
    unlike = unlike_arms(corpora.spec, corpora.catalogue)
    overlaps = study_overlaps(corpora)
    shared = [x for x in overlaps if x.problem or x.examples or x.texts]
    overlap = [f"overlap: {describe_overlap(x)}" for x in shared] or [
        f"overlap: none of {len(overlaps)} pairs of a training and an evaluation split share an "
        f"example"
    ]
    kept = overlap[:KEPT_OVERLAPS]
    if len(overlap) > len(kept):
        kept.append(f"overlap: {len(overlap) - len(kept)} more, less than these")
    for line in unlike + overlap[:SHOWN_OVERLAPS]:
        _log.warning("%s", line)
    if len(overlap) > SHOWN_OVERLAPS:
        rest = len(overlap) - SHOWN_OVERLAPS
        _log.warning("overlap: %d more in the study's attribute 'overlap'", rest)
    return {"unlike_arms": "\n".join(unlike), "overlap": "\n".join(kept)}
