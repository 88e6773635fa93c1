"""A small study that is run through faults on purpose, and what must be true of it afterwards.

Workers of `search.run` train an untrained encoder on pocket corpora while they are killed and
paused, their database is restarted and killed, their disk filled and their checkpoints torn. The
study proposes at random by slot, so that an undisturbed run of it, beside the other one and with
nothing in common, must come to the same table. Nothing is touched but a temporary folder.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from search.checks.chaos_database import ChaosDatabase, chaos_database
from search.checks.chaos_plan import ChaosPlan, Fault, put_off
from search.checks.faults import Site, SmallDisk
from search.checks.fleet import Fleet, ForkedWorkers
from search.checks.invariants import (
    Invariant,
    check_cache,
    check_outbox,
    check_study,
    check_table,
    overshoot,
)
from search.checks.remains import Expected, Remains, read_remains
from search.studies.baseline import baseline_name
from search.studies.trial_notes import Failure, TrialNotes
from spaces.catalogue import load_catalogue
from spaces.errors import SpecError
from spaces.studies import load_study
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.outages import impatient
from storage.outbox import STATE_VARIABLE, Outbox
from storage.patient_storage import SharedStorage
from storage.slots import Slots

NAME = "chaos"
PRECISION = "float32"


@dataclass(frozen=True)
class _Opened:
    """A study's database as its observer sees it."""

    storage: SharedStorage
    ledger: Ledger
    slots: Slots

    @classmethod
    @contextmanager
    def at(cls, url: str) -> Iterator[_Opened]:
        storage = open_storage(url)
        leases = Leases(storage.engine)
        try:
            yield cls(storage, Ledger(storage.engine), Slots(storage.engine, leases, NAME))
        finally:
            storage.close()

    def count_passing(self) -> int:
        """How many trials failed by a fault of their machine."""
        trials = optuna.load_study(study_name=NAME, storage=self.storage).get_trials(False)
        return sum(TrialNotes.of(trial).failure is Failure.PASSING for trial in trials)

    def trial_of(self, pid: int) -> str:
        """The trial that a process is within, or was when it was killed; empty: in none."""
        names = {x.study_name for x in self.storage.get_all_studies()}
        for name in names & {NAME, baseline_name(NAME)}:
            for trial in optuna.load_study(study_name=name, storage=self.storage).trials:
                notes = TrialNotes.of(trial)
                is_cut_off = notes.failure is Failure.LOST or not trial.state.is_finished()
                if is_cut_off and notes.worker.split("/")[-2:-1] == [str(pid)]:
                    return f"trial {trial.number} of {name}"
        return ""

    def remains(self, name: str = NAME) -> Remains:
        """What a study, or its direct trainings, left."""
        slots = Slots(self.storage.engine, Leases(self.storage.engine), name)
        study = optuna.load_study(study_name=name, storage=self.storage)
        return read_remains(study, self.ledger, slots)


def run_chaos(
    plan: ChaosPlan, say: Callable[[str], None], keep: Path | None = None
) -> ChaosResult:
    """Run a study through faults, and check it.

    Args:
        plan: How much is to happen.
        say: Called with a line for each thing that happens.
        keep: A folder that does not exist, for all that the study leaves; None: a temporary one,
            which is cleared away if all invariants hold.

    Raises:
        SpecError: The folder cannot be made, or is there already.
        StorageError: The database does not start.
    """
    if keep is not None:
        try:
            keep.mkdir(parents=True)
        except OSError as error:
            raise SpecError(f"--keep {keep}", "a new folder", error.strerror or "") from error
    folder = keep or Path(tempfile.mkdtemp(prefix="transfer-search-chaos-"))
    # PostgreSQL runs as a user of its own where we are root.
    folder.chmod(0o711)
    result = _Chaos(plan, say, folder).run()
    if keep is None and result.is_held:
        shutil.rmtree(folder)
        return result
    return replace(result, folder=folder)


class _Chaos:
    """One run, in its folder."""

    def __init__(self, plan: ChaosPlan, say: Callable[[str], None], folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._began = time.monotonic()
        self._say_line = say
        self._rng = random.Random(plan.seed)
        self._faults: Counter[str] = Counter()
        self._skipped: dict[str, str] = {}

    def run(self) -> ChaosResult:
        (self._folder / f"{NAME}.toml").write_text(self._plan.study, encoding="utf-8")
        (self._folder / "logs").mkdir()
        logging.getLogger("storage").setLevel(logging.ERROR)  # each outage is said by its fault
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        state = self._folder / "state"
        with ExitStack() as stack:
            # Their server loads torch while the database starts.
            forks = stack.enter_context(ForkedWorkers({STATE_VARIABLE: str(state)}))
            database = self._database(stack)
            forks.save_encoder(self._folder / "encoder")
            disk = self._disk(stack)
            cache = (disk.folder if disk else self._folder) / "study.cache"
            fleet = Fleet(forks, self._words(database.url, cache), self._folder / "logs")
            opened = stack.enter_context(_Opened.at(database.url))
            beside = self._folder / "undisturbed"
            beside.mkdir()
            calm_url = f"sqlite:///{beside}/study.sqlite"
            calm = Fleet(forks, self._words(calm_url, beside / "study.cache"), beside)
            calm.start()
            outbox = opened.storage.outbox.folder.name
            site = Site(
                fleet,
                self._rng,
                self._plan.lease_seconds,
                cache,
                state / "transfer-search" / "outbox" / outbox,
                database.server,
                disk,
                opened.count_passing,
                opened.trial_of,
            )
            self._drive(site, opened)
            seconds = time.monotonic() - self._began
            self._await(calm, "the undisturbed run")
            with _Opened.at(calm_url) as undisturbed:
                table = undisturbed.remains()
            return self._judge(site, opened, calm, table, seconds)

    def _say(self, line: str) -> None:
        self._say_line(f"{time.monotonic() - self._began:6.1f} s  {line}")

    def _database(self, stack: ExitStack) -> ChaosDatabase:
        database = stack.enter_context(chaos_database(self._plan.storage, self._folder))
        if database.server is None:
            for fault in (Fault.RESTART, Fault.CRASH):
                self._skipped[fault] = "SQLite is a file, which no server can take away"
        return database

    def _disk(self, stack: ExitStack) -> SmallDisk | None:
        try:
            disk = SmallDisk(self._folder / "disk")
        except OSError as error:
            self._skipped[Fault.DISK_FULL] = f"no small disk can be mounted here: {error}"
            return None
        stack.callback(disk.close)
        return disk

    def _words(self, url: str, cache: Path) -> list[str]:
        """The options of a worker."""
        plan, folder = self._plan, self._folder
        return [
            *("--study", str(folder / f"{NAME}.toml"), "--data", "pocket"),
            *("--backbone", str(folder / "encoder"), "--storage", url, "--cache", str(cache)),
            *("--device", "cpu", "--precision", PRECISION, "--threads", "1"),
            *("--lease", str(plan.lease_seconds), "--trials", str(plan.trials), "--patient"),
        ]

    def _drive(self, site: Site, opened: _Opened) -> None:
        """Run the study to its end, with a fault now and then."""
        plan, fleet = self._plan, site.fleet
        fleet.start()
        # It creates the study, which the others would do once more.
        while opened.ledger.frozen_study(NAME) is None:
            if fleet.errors:
                raise RuntimeError(f"expected a study, found: {fleet.errors[0]}")
            fleet.rest(0.1)
        for _ in range(plan.workers - 1):
            fleet.start()
        waiting = self._in_order()
        number = 0
        while waiting and not (fleet.errors or opened.slots.are_done(plan.trials)):
            # So that the last one still finds trials to hit.
            wanted = int(number / plan.faults * 0.9 * plan.trials)
            if opened.slots.count_done() < wanted:
                fleet.rest(0.2)
                continue
            fault = waiting.pop(0)
            injected = site.inject(fault)
            if injected is None:
                waiting = put_off(fault, waiting)
                fleet.rest(0.2)
                continue
            if injected.fault in waiting and injected.fault is not fault:
                waiting[waiting.index(injected.fault)] = fault
            number += 1
            self._faults[injected.fault] += 1
            done = opened.slots.count_done()
            what = f"{injected.fault}: {injected.said}"
            self._say(f"{number}/{plan.faults} {what} ({done}/{plan.trials} done)")
            fleet.rest(self._rng.uniform(0.2, 1.0))
        self._await(fleet, "the study")
        for error in fleet.errors:
            self._say(f"a worker ended by itself: {error}")
        self._say(f"{opened.slots.count_done()}/{plan.trials} done")

    def _in_order(self) -> list[Fault]:
        """The faults to come: each kind once, then drawn, in rounds."""
        kinds = [fault for fault in self._plan.kinds if fault not in self._skipped]
        order: list[Fault] = []
        while len(order) < self._plan.faults:
            more = list(kinds)
            if order:
                self._rng.shuffle(more)
            order += more
        return order[: self._plan.faults]

    def _await(self, fleet: Fleet, what: str) -> None:
        while not fleet.is_gone:
            fleet.rest(0.2)
            if time.monotonic() - self._began > self._plan.limit_seconds:
                limit = self._plan.limit_seconds
                fleet.errors.append(f"{what} was not done within {limit:.0f} s")
                return

    def _judge(
        self, site: Site, opened: _Opened, calm: Fleet, undisturbed: Remains, seconds: float
    ) -> ChaosResult:
        spec, catalogue = load_study(str(self._folder / f"{NAME}.toml")), load_catalogue()
        trials = self._plan.trials
        with impatient():
            remains = opened.remains()
            directly = opened.remains(baseline_name(NAME))
        baseline = remains.baseline
        planned = directly.slots_begun if baseline is None else baseline.trials
        direct = check_study(directly, spec, catalogue, Expected(planned))
        invariants = [
            *check_study(remains, spec, catalogue, Expected(trials)),
            *(replace(x, name=f"direct trainings: {x.name}") for x in direct),
            check_outbox(Outbox(site.outbox).left()),
            check_cache(CheckpointCache(site.cache), site.torn),
            check_table(remains, undisturbed, trials),
            Invariant(
                "no worker ended by itself",
                (*site.fleet.errors, *calm.errors),
                f"{len(list(site.fleet.logs.glob('*.log')))} workers",
            ),
        ]
        return ChaosResult(
            trials,
            {str(fault): self._faults[fault] for fault in Fault},
            {str(fault): why for fault, why in self._skipped.items()},
            tuple(invariants),
            overshoot(remains, trials),
            len(remains.trials) - len({TrialNotes.of(x).slot for x in remains.trials}),
            seconds,
        )


NOT_TRIED = (
    "a cut network, clocks that jump, a full disk under the database, faults of a GPU, and "
    "workers on several machines: one machine has none of them to break"
)


@dataclass(frozen=True)
class ChaosResult:
    """What happened, and what is true afterwards.

    Attributes:
        trials: Trials that the study was to have.
        faults: Kind of fault -> how many were injected.
        skipped: Kinds that could not be injected here -> why.
        invariants: All that were checked.
        overshoot: Number of trials beyond those asked for.
        retries: Attempts beyond each slot's first one.
        seconds: Seconds from the first worker's start to the last one's end.
        folder: Where all of it lies still; None where it was cleared away.
    """

    trials: int
    faults: dict[str, int]
    skipped: dict[str, str]
    invariants: tuple[Invariant, ...]
    overshoot: int
    retries: int
    seconds: float
    folder: Path | None = None

    @property
    def is_held(self) -> bool:
        """Whether all invariants hold."""
        return all(x.is_held for x in self.invariants)


def chaos_lines(result: ChaosResult) -> Sequence[str]:
    """A result for people."""
    injected = ", ".join(f"{count} x {kind}" for kind, count in result.faults.items() if count)
    missing = [
        f"not injected: {kind}: {result.skipped.get(kind, 'the study was done before')}"
        for kind, count in result.faults.items()
        if not count
    ]
    missing.append(f"not tried: {NOT_TRIED}")
    kept = [f"all of it is kept in {result.folder}"] if result.folder else []
    return [
        f"{result.trials} trials, {result.retries} retries, {result.seconds:.0f} s",
        f"injected: {sum(result.faults.values())} faults: {injected}",
        *missing,
        *map(str, result.invariants),
        *kept,
    ]
