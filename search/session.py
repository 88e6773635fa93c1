"""One run of a study from its options: what is opened, in which order, and what is shown."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.study import Study
from rich.console import Console

from objectives.corpora import SourceKind, choose_source
from objectives.hardware import choose_hardware, keep_freed_memory
from objectives.models import quiet_libraries
from objectives.study_corpora import StudyCorpora
from objectives.transfer import StageProgress, TransferObjective
from search.arguments import DEFAULT_STORAGE, STORAGE_VARIABLE, default_cache
from search.fellows import count_workers, device_of, fellow_workers
from search.progress import RunProgress
from search.study import defining_facts, open_study, provenance, running_since
from search.summary import finished_trials, highest_gain, show_result
from search.worker import StopSignal, count_done, run_worker
from spaces.catalogue import Catalogue
from spaces.dimensions import SearchSpace, search_space
from spaces.errors import Interrupted
from spaces.studies import StudySpec, check_study, pocket_twin
from storage.backends import open_storage, redacted
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger


def run_study(spec: StudySpec, catalogue: Catalogue, options: argparse.Namespace) -> int:
    """Create, resume or extend a study and run its trials.

    Args:
        spec: A checked study.
        catalogue: Its tasks.
        options: From `search.run.parser`.

    Returns:
        0 when the study has all its trials, 128 + the signal's number when one ended the run.

    Raises:
        TransferSearchError: Something the user gave is wrong.
    """
    console = Console(stderr=True, quiet=options.quiet, soft_wrap=True)
    backbones = (options.backbone,) if options.backbone else spec.backbone
    needed = [(catalogue[task], x) for task, x, _ in spec.needed_splits(catalogue)]
    source = choose_source(options.data, needed, backbones)
    console.print(f"data: {source}, because {source.reason}", markup=False, highlight=False)
    if source.kind is SourceKind.POCKET:
        spec = pocket_twin(spec, catalogue, options.set)
        check_study(spec, catalogue)
    if options.backbone:
        spec = spec.model_copy(update={"backbone": (options.backbone,)})
    name = options.name or spec.name
    trials = options.trials or spec.trials

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quiet_libraries()
    keep_freed_memory()
    workers = count_workers(options.workers, options.workers_per_gpu)
    threads = options.threads or max(1, usable_cores() // workers)
    torch.set_num_threads(threads)
    storage = open_storage(options.storage)
    ledger = Ledger(storage.engine)
    frozen = ledger.frozen_study(name)
    # A study keeps to the precision it began with, on whatever machine it goes on.
    kept = frozen["precision"] if frozen and options.precision == "auto" else options.precision
    hardware = choose_hardware(device_of(0, options.device), kept)
    leases = Leases(storage.engine)
    cache = CheckpointCache(
        options.cache or default_cache(options.storage),
        leases,
        options.cache_limit,
        lambda: running_since(storage),
    )
    stop = StopSignal()
    languages = spec.selection_languages(catalogue)
    progress = RunProgress(console, trials, languages)

    def watch(stage: StageProgress) -> None:
        stop.check()
        progress.stage(stage)

    corpora = StudyCorpora(spec, catalogue, source)
    objective = TransferObjective(spec, catalogue, corpora, cache, leases, ledger, hardware, watch)
    console.print(
        f"device: {hardware.name}, {hardware.precision}; storage: {redacted(options.storage)}, "
        f"study {name!r}; checkpoints: {cache.location}",
        markup=False,
        highlight=False,
    )
    with stop.listening(), progress.showing():
        try:
            study, space = _open(objective, name, storage, redacted(options.storage))
            leader = highest_gain(finished_trials(study, ledger), languages)
            best = (leader.gain.mean_gain(languages), leader.in_words) if leader else None
            progress.resume(count_done(study), best)
            with fellow_workers(options.words, workers - 1, options.device, threads, stop):
                run_worker(study, space, objective, ledger, trials, progress, stop)
        except Interrupted:
            study = None  # before the first trial; nothing to show
    if study is not None:
        show_result(study, ledger, spec, catalogue, source)
    _show_next_steps(options, trials)
    return 128 + stop.number if stop.number else 0


def usable_cores() -> int:
    """CPU cores this process may use; fewer than the machine has under a batch system."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open(
    objective: TransferObjective, name: str, storage: RDBStorage, shown_url: str
) -> tuple[Study, SearchSpace]:
    """Read all corpora and encoders once, so that what is broken shows before any training."""
    spec, catalogue = objective.spec, objective.catalogue
    fingerprints = objective.corpora.fingerprints()
    space = search_space(spec, catalogue, objective.corpora.train_sizes())
    backbones = {backbone: objective.backbone(backbone) for backbone in spec.backbone}
    source = objective.corpora.source
    facts = defining_facts(spec, space, source, fingerprints, backbones, objective.hardware)
    about = provenance(spec, catalogue, source, backbones)
    return open_study(name, storage, objective.ledger, facts, about, shown_url), space


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
    lines = [f"extend:  {shlex.join(run)}", f"browse:  {shlex.join(browse)}"]
    if not options.quiet:
        print("\n".join(lines))
