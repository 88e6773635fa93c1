"""One run of a study from its options: what is opened, in which order, and what is shown."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from contextlib import closing
from pathlib import Path

import optuna
import torch
from optuna.study import Study
from rich.console import Console

from objectives.data.overlap import describe_overlap, study_overlaps
from objectives.data.sources import DataSource, SourceKind, choose_source
from objectives.hardware import keep_freed_memory, usable_cores
from objectives.models.encoders import quiet_libraries
from objectives.transfer import StageProgress, TransferObjective
from search.command_line.options import DEFAULT_STORAGE, STORAGE_VARIABLE, newest_version
from search.reporting.terminal import show_result
from search.studies.definition import build_objective, defining_facts, open_study, provenance
from search.studies.recipes import finished_recipes, leaders
from search.workers.heartbeat import Budget, Pulse, StopSignal
from search.workers.local_processes import count_workers, device_share, fellow_workers
from search.workers.loop import Worker
from search.workers.progress import RunProgress
from spaces.catalogue import Catalogue
from spaces.dimensions import SearchSpace
from spaces.errors import BudgetSpent, Interrupted
from spaces.pocket_twin import pocket_twin
from spaces.studies import StudySpec
from spaces.study_checks import check_study, unlike_arms
from storage.opening import open_storage
from storage.outages import asking
from storage.patient_storage import SharedStorage
from storage.slots import Slots
from storage.urls import redacted
from storage.workers import Workers

_log = logging.getLogger(__name__)
# Lines at the start of a new study; the worst come first.
SHOWN_OVERLAPS = 8
# In the study's attribute.
KEPT_OVERLAPS = 200


def run_study(
    spec: StudySpec,
    catalogue: Catalogue,
    options: argparse.Namespace,
    stop: StopSignal | None = None,
) -> int:
    """Create, resume or extend a study and run its trials.

    Args:
        spec: A checked study.
        catalogue: Its tasks.
        options: From `search.run.parser`.
        stop: By which somebody else may end the run; default: signals of its process.

    Returns:
        0 when the study has all its trials, 128 + the signal's number when one ended the run.

    Raises:
        TransferSearchError: Something the user gave is wrong.
    """
    console = Console(stderr=True, quiet=options.quiet or options.fellow, soft_wrap=True)
    spec, source = as_asked(spec, catalogue, options)
    console.print(f"data: {source}, because {source.reason}", markup=False, highlight=False)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quiet_libraries()
    keep_freed_memory()
    patient = options.patient or options.fellow  # the run that started it had the database
    storage = open_storage(options.storage, patient=patient)
    with closing(storage):  # its process may go on (`search.launch.hosted_worker`)
        return _run_on(storage, spec, catalogue, source, options, stop or StopSignal(), console)


def _run_on(
    storage: SharedStorage,
    spec: StudySpec,
    catalogue: Catalogue,
    source: DataSource,
    options: argparse.Namespace,
    stop: StopSignal,
    console: Console,
) -> int:
    trials = options.trials or spec.trials
    workers = count_workers(options.workers, options.workers_per_gpu)
    threads = options.threads or max(1, usable_cores() // workers)
    torch.set_num_threads(threads)
    name = newest_version(options.name or spec.name, storage)
    pulse = Pulse(
        Workers(storage.engine, name),
        Budget(trials, options.gpu_hours and 3600 * options.gpu_hours, options.timeout),
        stop,
        options.device_share * device_share(workers, options.device),
        options.lease,
    )
    languages = spec.selection_languages(catalogue)
    progress = RunProgress(console, trials, languages)

    def watch(stage: StageProgress) -> None:
        pulse.check()
        pulse.note(f"{stage.position} {stage.task} seed {stage.seed}", stage.done, stage.total)
        progress.stage(stage)

    objective = build_objective(
        name,
        spec,
        catalogue,
        source,
        storage,
        options,
        watch,
        options.cache_limit,
        options.lease,
    )
    ledger, hardware = objective.ledger, objective.hardware
    console.print(
        f"device: {hardware.name}, {hardware.precision}; storage: {redacted(options.storage)}, "
        f"study {name!r}; checkpoints: {objective.cache.location}",
        markup=False,
        highlight=False,
    )
    study, ended = None, None
    slots = Slots(storage.engine, objective.leases, name)
    with stop.listening(), progress.showing(), asking(stop.check):
        try:
            study, space = _open(objective, name, storage, redacted(options.storage))
            if not options.fellow:
                best = None
                if leading := leaders(
                    finished_recipes(study, ledger, spec.target.aggregate), languages
                ):
                    best = leading[0].gain.overall_gain(languages), leading[0].in_words
                progress.resume(slots.count_done(), best)
            with (
                pulse.beating(hardware.name),
                fellow_workers(
                    options.words, options.storage, workers, options.device, threads, stop
                ),
            ):
                worker = Worker(study, storage, space, objective, ledger, slots, pulse, progress)
                worker.run()
        except Interrupted as error:
            ended = error
    if study is not None and not options.fellow:
        show_result(study, ledger, spec, catalogue, source, redacted(options.storage))
        _show_next_steps(options, trials)
    if isinstance(ended, BudgetSpent):
        console.print(f"{ended}: {slots.count_done()} of {trials} trials are done", markup=False)
    return 128 + stop.number if stop.number else 0


def as_asked(
    spec: StudySpec, catalogue: Catalogue, options: argparse.Namespace
) -> tuple[StudySpec, DataSource]:
    """A study with the encoder and the data that were asked for, and where these are.

    Args:
        spec: A checked study.
        catalogue: Its tasks.
        options: `backbone`, `data` and `set`.

    Raises:
        TransferSearchError: The data are not there.
    """
    backbones = (options.backbone,) if options.backbone else spec.backbone
    needed = [(catalogue[task], x) for task, x, _ in spec.needed_splits(catalogue)]
    source = choose_source(options.data, needed, backbones)
    if source.kind is SourceKind.POCKET:
        spec = pocket_twin(spec, catalogue, options.set)
        check_study(spec, catalogue)
    if options.backbone:
        spec = spec.model_copy(update={"backbone": (options.backbone,)})
    return spec, source


def _open(
    objective: TransferObjective, name: str, storage: SharedStorage, shown_url: str
) -> tuple[Study, SearchSpace]:
    facts, space = defining_facts(objective)
    spec, catalogue, source = objective.spec, objective.catalogue, objective.corpora.source
    about = provenance(objective)
    if objective.ledger.frozen_study(name) is None:
        unlike = unlike_arms(spec, catalogue)
        overlap = _overlap_lines(spec, catalogue, source)
        kept = overlap[:KEPT_OVERLAPS]
        if len(overlap) > len(kept):
            kept.append(f"overlap: {len(overlap) - len(kept)} more, less than these")
        about |= {"unlike_arms": "\n".join(unlike), "overlap": "\n".join(kept)}
        for line in unlike + overlap[:SHOWN_OVERLAPS]:
            _log.warning("%s", line)
        if len(overlap) > SHOWN_OVERLAPS:
            rest = len(overlap) - SHOWN_OVERLAPS
            _log.warning("overlap: %d more in the study's attribute 'overlap'", rest)
    return open_study(name, storage, objective.ledger, facts, about, shown_url), space


def _overlap_lines(spec: StudySpec, catalogue: Catalogue, source: DataSource) -> list[str]:
    """What training splits share with what their checkpoints are scored on, worst first."""
    overlaps = study_overlaps(spec, catalogue, source)
    shared = [x for x in overlaps if x.problem or x.examples or x.texts]
    return [f"overlap: {describe_overlap(x)}" for x in shared] or [
        f"overlap: none of {len(overlaps)} pairs of a training and an evaluation split share an "
        f"example"
    ]


def _show_next_steps(options: argparse.Namespace, trials: int) -> None:
    """Where things are, and the commands to go on with."""
    common = ["--study", options.study]
    if options.storage not in {os.environ.get(STORAGE_VARIABLE), DEFAULT_STORAGE}:
        common += ["--storage", redacted(options.storage)]
    run = ["python", "-m", "search.run", *common, "--trials", str(2 * trials)]
    for option in (
        "name",
        "data",
        "backbone",
        "cache",
        "cache_limit",
        "device",
        "precision",
        "threads",
        "workers",
        "workers_per_gpu",
    ):
        value = getattr(options, option)
        if value not in {None, "auto"}:
            run += [f"--{option.replace('_', '-')}", str(value)]
    run += [part for override in options.set for part in ("--set", override)]
    study = options.name or Path(options.study).stem
    browse = ["python", "-m", "search.dashboard", "--study", study, *common[2:]]
    if options.cache:  # beside which the trials' files lie
        browse += ["--cache", options.cache]
    lines = [f"extend:  {shlex.join(run)}", f"browse:  {shlex.join(browse)}"]
    if not options.quiet:
        print("\n".join(lines))
