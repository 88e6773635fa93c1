"""How much is to happen in a chaos run, and the study that it happens to. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from spaces.errors import SpecError

DATABASES = ("postgresql", "sqlite", "embedded", "pooler")
"""A PostgreSQL that is nobody's but the chaos's, an SQLite file, a PostgreSQL that the workers
start themselves, and the first one behind pgbouncer, whose clients share one connection."""
# Few intermediate stages, which trials share and torn checkpoints hit; so many target stages that
# two workers are hardly ever at the same recipe.
_STUDY = """\
question = "Does anything get lost?"
arms = ["none", "general", "legal"]
backbone = "untrained"
source_language = "qas"
sampler = "random"
trials = 1
baseline_seeds = 1

[intermediate]
tasks = ["pocket_ner_calendar", "pocket_ner_parties"]
epochs = [1, 2]
learning_rate = {{ low = 1e-3, high = 3e-3, points = {learning_rates} }}
examples = 32
batch_size = 16
max_length = 64

[target]
tasks = ["pocket_ner"]
languages = ["qaa", "qab"]
epochs = {epochs}
learning_rate = {{ low = 1e-4, high = 1e-2, points = 500 }}
examples = 32
batch_size = 16
max_length = 64
"""


class Fault(StrEnum):
    """What happens. The order is that of the first round.

    Only saving a stage meets a full disk, and a study has saved all its stages early.
    """

    DISK_FULL = "disk full"
    KILL = "worker killed within a trial"
    PAUSE = "worker paused past its lease"
    TEAR = "checkpoint torn"
    RESTART = "database restarted"
    UNDELIVERED = "worker killed with a result undelivered"
    TERMINATE = "worker told to end"
    CRASH = "database killed"
    KILL_IDLE = "worker killed outside of trials"


def put_off(fault: Fault, waiting: Sequence[Fault]) -> list[Fault]:
    """The faults to come once one of them found nothing to hit.

    It comes after the next one of another kind: what that one changes may give it something to
    hit, while two of its own kind would wait for each other for ever.
    """
    place = next((n for n, x in enumerate(waiting, 1) if x is not fault), 0)
    return [*waiting[:place], fault, *waiting[place:]]


@dataclass(frozen=True)
class ChaosPlan:
    """How much is to happen.

    Attributes:
        trials: Trials that the study is to have.
        workers: Workers at a time.
        faults: Faults to inject, each kind about as often.
        kinds: Kinds of these faults.
        lease_seconds: Seconds of silence after which a worker's trial may be taken over.
        epochs: Numbers of epochs that the target stage may have; larger ones make longer trials.
        learning_rates: Number of learning rates that intermediate stages may have; more of them
            make more stages, which a full disk meets.
        storage: One of `DATABASES`.
        seed: Random seed of everything that is drawn.
        limit_seconds: Seconds after which a study that is not done has failed.

    Raises:
        SpecError: A count is too small, or there is no such storage.
    """

    trials: int = 24
    workers: int = 2
    faults: int = 9
    kinds: tuple[Fault, ...] = tuple(Fault)
    lease_seconds: float = 3.0
    epochs: tuple[int, ...] = (1,)
    learning_rates: int = 2
    storage: str = "postgresql"
    seed: int = 0
    limit_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("workers", 1), ("faults", 0)):
            value = getattr(self, name)
            if value < least:
                raise SpecError(f"--{name}", f"a number from {least}", str(value))
        if self.storage not in DATABASES:
            known = f"{', '.join(DATABASES[:-1])} or {DATABASES[-1]}"
            raise SpecError("the storage of a chaos run", known, self.storage)

    @property
    def study(self) -> str:
        """The study file's text."""
        return _STUDY.format(epochs=list(self.epochs), learning_rates=self.learning_rates)
