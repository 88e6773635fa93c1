"""Broken databases, and strangers' files in the outbox and in the cache."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from search import compare, cost, status
from search.command_line.options import STORAGE_VARIABLE
from storage.checkpoints import CheckpointCache
from storage.leases import Lease, Leases
from storage.opening import open_storage
from storage.outbox import Outbox
from storage.processes import process_identity
from tests.benchmarks.fuzz_inputs import STRINGS, broken_text, changed
from tests.benchmarks.fuzz_tally import Silent, Tally, must_be_taken
from tests.studies import PLANS, write_study

# --- outbox


def fuzz_outbox(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Files in the outbox: nothing but ours is delivered, and ours always is."""
    outbox = Outbox(folder / "outbox")
    logging.getLogger("storage.outbox").setLevel(logging.CRITICAL)
    dead = quote(process_identity().rsplit("/", 2)[0], safe="") + "%2F4194303%2F1.00"
    content = {"results": [{"study_name": "s", "score": 0.5}], "fence": 3, "lease_key": "k"}

    def entry() -> Path:
        with contextlib.suppress(KeyError), outbox.keeping("results", content):
            raise KeyError
        (file,) = (x for x in outbox.folder.glob("*.json") if "4194303" not in x.name)
        return file.rename(outbox.folder / f"{dead}-{uuid.uuid4().hex}.json")

    def deliver(expected: int) -> None:
        taken: list[Any] = []
        outbox.left()
        outbox.deliver(lambda kind, found: taken.append((kind, found)))
        if taken != [("results", content)] * expected:
            raise Silent(f"delivered {taken}"[:300])

    for number in range(120 * times):
        ours, theirs = entry(), entry()
        before = theirs.read_text()
        if number % 3:
            theirs.write_bytes(broken_text(before, dice))
        else:
            theirs.write_text(json.dumps(changed(json.loads(before), dice)))
        if number % 10 == 0:
            theirs = theirs.rename(outbox.folder / f"{number}{dice.choice(('-x', ' é', ''))}.json")
        is_same = theirs.read_text("utf-8", "replace") == before and number % 10
        shown = theirs.read_bytes()[:200]
        # What differs in white space or the like, as JSON, is the same entry.
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            is_same = bool(number % 10) and _entry(theirs.read_bytes()) == _entry(before.encode())
        tally.take("outbox", repr(shown), lambda expected=1 + bool(is_same): deliver(expected))
        for left in outbox.folder.glob("*.json"):
            left.unlink()
        assert not ours.exists()


def _entry(data: bytes) -> tuple[Any, ...]:
    made = json.loads(data)
    return made["format"], made["entry"], made["signature"]


# --- databases


def fuzz_databases(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """A study's database with rows, columns and tables removed."""
    whole = folder / "whole.db"
    write_study(f"sqlite:///{whole}", PLANS)
    with contextlib.closing(sqlite3.connect(whole)) as database:
        tables = [
            x for (x,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        columns = {
            x: [row[1] for row in database.execute(f"PRAGMA table_info({x})")] for x in tables
        }
    where = [(x, "") for x in tables] + [(x, y) for x in tables for y in columns[x]]
    dice.shuffle(where)
    commands: list[Callable[[list[str]], int]] = [
        status.main,
        cost.main,
        status.main,
        compare.main,
    ]
    for number in range(60 * times):
        table, column = where[number % len(where)]
        broken = folder / f"broken-{number}.db"
        shutil.copy(whole, broken)
        with contextlib.closing(sqlite3.connect(broken)) as database:
            done = _break(database, table, column, dice)
        main = commands[number % len(commands)]
        words = ["--study", "synthetic", "--storage", f"sqlite:///{broken}"]
        if main is compare.main:
            words = ["synthetic", "synthetic", *words[2:]]
        tally.take("databases", f"{main.__module__}: {done}", lambda m=main, w=words: _call(m, w))
        for file in folder.glob("broken-*"):
            file.unlink()
    data = whole.read_bytes()
    for number in range(15 * times):
        spoilt = bytearray(data)
        for _ in range(dice.choice((1, 20, 400))):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        broken = folder / "broken.db"
        broken.write_bytes(spoilt[: dice.choice((None, None, 0, 50, len(data) // 2))])
        words = ["--study", "synthetic", "--storage", f"sqlite:///{broken}"]
        main = commands[number % 2]
        tally.take("databases", f"bytes, {main.__module__}", lambda m=main, w=words: _call(m, w))
        for file in folder.glob("broken*"):
            file.unlink()
    for word in STRINGS[: 8 * times]:
        words = ["--study", word.replace("\0", ""), "--storage", f"sqlite:///{whole}"]
        tally.take("databases", f"--study {word[:80]!r}", lambda w=words: _call(status.main, w))
    for space in ("\n", "\r\n", " ", "\t", "\ufeff"):
        given = space * dice.randrange(2) + f"sqlite:///{whole}" + space
        tally.take("databases", repr(given), lambda x=given: must_be_taken(lambda: _by_name(x)))


def _by_name(given: str) -> None:
    """Read the study where the variable names its storage."""
    before = os.environ.get(STORAGE_VARIABLE)
    os.environ[STORAGE_VARIABLE] = given
    try:
        status.main(["--study", "synthetic"])
    except SystemExit as ended:
        if ended.code:
            raise Silent(f"refused: {given!r}") from ended
    finally:
        del os.environ[STORAGE_VARIABLE]
        if before is not None:
            os.environ[STORAGE_VARIABLE] = before


def fuzz_checkpoints(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Checkpoints and strange files in a cache: what is damaged is a miss, never a result."""
    storage, inputs = open_storage(f"sqlite:///{folder}/leases.db"), {"task": "panx"}
    cache = CheckpointCache(folder / "cache", Leases(storage.engine))
    logging.getLogger("storage.checkpoints").setLevel(logging.CRITICAL)

    def train(scratch: Path, lease: Lease) -> dict[str, object]:
        (scratch / "weights.bin").write_bytes(b"weights" * 50)
        return {"loss": 0.5}

    cache.get_or_create(inputs, train, _unasked)
    whole = folder / "whole"
    shutil.copytree(folder / "cache", whole)
    names = sorted(x.relative_to(whole) for x in whole.rglob("*") if x.is_file())

    def use() -> None:
        cache.entries()
        cache.damaged()
        cache.leftovers()
        found = cache.find(inputs) or cache.get_or_create(inputs, train, _unasked)
        content = (found.folder / "weights.bin").read_bytes()
        if content != b"weights" * 50:
            raise Silent(f"found {content[:50]!r}")

    for _ in range(30 * times):
        shutil.rmtree(folder / "cache")
        shutil.copytree(whole, folder / "cache")
        file = folder / "cache" / dice.choice(names)
        text = file.read_bytes().decode("latin-1")
        way = dice.randrange(3)
        if way == 0 and file.suffix == ".json":
            file.write_text(json.dumps(changed(json.loads(text), dice)))
        elif way == 1:
            file.unlink()
            (file.mkdir if dice.random() < 0.5 else lambda f=file: os.mkfifo(f))()
        else:
            file.write_bytes(broken_text(text, dice))
        tally.take("checkpoints", f"{file.name}: {way}", use)
    storage.close()


def _unasked(holder: object) -> None:
    raise Silent("waits for nobody")


def _break(database: sqlite3.Connection, table: str, column: str, dice: random.Random) -> str:
    values = ("NULL", "''", "-1", "'x'", "x'00ff'", "9e999", "'{'", "9223372036854775807")
    way = f"DELETE FROM {table} WHERE rowid % {dice.choice((1, 2, 3))} = 0"
    if column:
        way = dice.choice(
            (
                f"ALTER TABLE {table} DROP COLUMN {column}",
                f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                f"UPDATE OR IGNORE {table} SET {column} = {dice.choice(values)}",
            )
        )
    elif dice.random() < 0.3:
        way = f"DROP TABLE {table}"
    with contextlib.suppress(sqlite3.Error):
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(way)
        database.commit()
    return way


def _call(main: Callable[[list[str]], int], words: list[str]) -> None:
    main(words)
