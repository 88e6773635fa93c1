"""Broken inputs of every kind that users have, by the thousand: none may be more than one line.

Of each input the program either says in one short line what is wrong (exit code 2), or takes it.
Anything else is counted: a traceback; a hang (more than 10 CPU seconds, or a minute); and what is
silent, an input that is taken though it must not be, or of which a part is lost without a word.
Inputs are drawn from the seed alone.

    python -m tests.benchmarks.fuzz [--quick] [--seed N] [--only PART] [--show]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from objectives.data.sources import DataSource, SourceKind, load_split, load_test_split
from objectives.data.sources import TestPurpose as Purpose
from objectives.models.encoders import load_backbone, quiet_libraries
from objectives.models.fitness import check_fits
from objectives.xtreme.submission import predictions_file, read_predictions, write_predictions
from search import compare, cost, status
from search.command_line.options import quiet_optuna
from search.command_line.run_options import read_run_options
from search.studies.direct_trainings import plan_direct_trainings
from search.studies.study_file import read_study_file
from spaces.dimensions import search_space
from spaces.enumeration import points
from spaces.errors import LONGEST_LINE, TransferSearchError, one_line
from spaces.records import decoded
from storage.outbox import Outbox
from storage.processes import process_identity
from storage.urls import redacted
from tests.benchmarks.fuzz_inputs import HUGE, STRINGS, VALUES, broken_text, changed, toml_value
from tests.objectives_tests.toy_encoders import encoder_parts
from tests.objectives_tests.toys import STUDY, make_task, toy_columns, write_split
from tests.studies import PLANS, write_study

CPU_SECONDS, WALL_SECONDS = 10.0, 60.0
QUICK, WHOLE = 1, 10


class Silent(Exception):
    """An input that is taken though it must not be, or a part of which is lost."""


class Hung(BaseException):
    """An input that takes too long."""


@dataclass
class Tally:
    """What came of the inputs.

    Attributes:
        counts: Outcome -> number, by part.
        faults: Number of outcomes that were not clean.
        shows: Whether each of these is printed.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: int = 0
    shows: bool = False

    def take(self, part: str, shown: str, use: Callable[[], None]) -> None:
        """Use one input and count what comes of it."""
        outcome, why = _outcome(use)
        self.counts.setdefault(part, Counter())[outcome] += 1
        if outcome not in {"taken", "refused"}:
            self.faults += 1
            if self.shows:
                print(f"--- {part}: {shown[:300]}\n{outcome}: {why}", flush=True)

    def total(self, *outcomes: str) -> int:
        """Number of inputs with these outcomes, of all parts."""
        return sum(count[x] for count in self.counts.values() for x in outcomes)


def _outcome(use: Callable[[], None]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        with _limited(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            use()
    except Hung as error:
        return "hangs", "".join(traceback.format_exception(error)[-3:])
    except Silent as error:
        return "silent", str(error)
    except TransferSearchError as error:
        line = one_line(str(error))
        is_short = len(line) < LONGEST_LINE + 60 and line.isprintable()
        return ("refused", line) if is_short else ("silent", f"no short line: {line[:300]}")
    except SystemExit as ended:
        lines = [x for x in err.getvalue().splitlines() if not x.startswith("note: ")]
        if ended.code in {0, None}:
            return "taken", ""
        if ended.code != 2 or len(lines) != 1 or len(lines[0]) > LONGEST_LINE + 60:
            return "silent", f"exit {ended.code}, {len(lines)} lines: {lines[:3]}"[:400]
        return "refused", lines[0]
    except BaseException as error:  # noqa: BLE001 (all of them are what is looked for)
        return "tracebacks", "".join(traceback.format_exception(error)[-4:])
    return "taken", ""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise after too much CPU time, or too long a wait."""

    def on_signal(number: int, frame: object) -> None:
        raise Hung(signal.Signals(number).name)

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, CPU_SECONDS),)
    timers += ((signal.ITIMER_REAL, signal.SIGALRM, WALL_SECONDS),)  # type: ignore[assignment]
    for timer, number, seconds in timers:
        signal.signal(number, on_signal)
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)


# --- study files, --set, options, URLs


def _use_study(path: str, overrides: tuple[str, ...] = ()) -> None:
    """All that a run asks of a study before its data."""
    file = read_study_file(path, overrides)
    space = search_space(file.spec, file.catalogue, dict.fromkeys(file.spec.task_names, 1000))
    points(space, 32)
    plan_direct_trainings(space, file.spec.first_seed, file.spec.baseline_seeds, [])


def fuzz_studies(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Study files with bytes changed, and with values changed."""
    file = folder / "fuzzed.toml"
    for _ in range(330 * times):
        data = broken_text(STUDY, dice)
        file.write_bytes(data)
        tally.take("study files", repr(data[:200]), lambda: _use_study(str(file)))
    for value in ("[" * 10_000, f"{HUGE}", "{a=" * 10_000, '"' + "x" * 10**7 + '"'):
        file.write_text(f"{STUDY}\nextra = {value}\n")
        tally.take("study files", value[:50], lambda: _use_study(str(file)))
    for mark in ("utf-8-sig", "utf-16"):
        file.write_text(STUDY, encoding=mark)
        tally.take("study files", mark, lambda: _must_be_taken(lambda: _use_study(str(file))))


def _must_be_taken(use: Callable[[], None]) -> None:
    try:
        use()
    except TransferSearchError as error:
        raise Silent(f"refused: {error}") from error


FIELDS = [
    *(
        "question",
        "arms",
        "about",
        "backbone",
        "source_language",
        "selection",
        "sampler",
        "trials",
    ),
    *("baseline_seeds", "first_seed", "mixtures", "pocket", "claims", "tasks", "name", "seeds"),
    *(f"{x}.{y}" for x in ("intermediate", "target") for y in ("tasks", "epochs", "examples")),
    *(f"{x}.{y}" for x in ("intermediate", "target") for y in ("learning_rate", "method")),
    *(f"{x}.{y}" for x in ("intermediate", "target") for y in ("max_length", "batch_size")),
    *(f"{x}.{y}" for x in ("intermediate", "target") for y in ("frozen_layers", "lora_rank")),
    *("target.languages", "target.without", "target.shots", "target.train_share"),
    *("target.prompt_length", "target.pooled_layer", "target.similarity", "tasks.names.files"),
    *("tasks.names.labels", "tasks.names.codes", "tasks.names.hub", "tasks.names.metric", "x", ""),
    *("intermediate.size_ratio", "intermediate.schedule", "target.warmup_ratio", ".", "a.b.c"),
]


def fuzz_overrides(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """`--set` with every field and every odd value."""
    file = folder / "plain.toml"
    file.write_text(STUDY)
    pairs = list(itertools.product(FIELDS, VALUES))
    dice.shuffle(pairs)
    for name, value in pairs[: 330 * times]:
        given = (f"{name}={toml_value(value)}",)
        tally.take("--set", given[0], lambda given=given: _use_study(str(file), given))
    for given in ("x", "=", "a==", "a=[" + "[" * 10_000, f"trials={HUGE}", "a.b=1", "\0=1"):
        tally.take("--set", given, lambda given=given: _use_study(str(file), (given,)))


OPTIONS = [
    *("--trials", "--gpu-hours", "--timeout", "--until", "--lease", "--cache-limit", "--threads"),
    *("--workers", "--workers-per-gpu", "--name", "--precision", "--graphs", "--launcher"),
]


def fuzz_options(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Options of a run with odd values."""
    words = [*STRINGS, HUGE, "1", "0", "-1", "1e999", "9" * 400 + "GB", "1e400h", "٣", "1_0", "²"]
    pairs = list(itertools.product(OPTIONS, words))
    dice.shuffle(pairs)
    for option, word in pairs[: 130 * times]:
        given = ["--study", "x", f"{option}={word}"]
        tally.take("options", f"{option}={word}", lambda given=given: _read_options(given))
    for name in ("x" * 300, "\udcff", "a\nb", "", " a", "-x", "a\0"):
        given = ["--study", "x", f"--name={name}"]
        tally.take("options", f"--name {name!r}", lambda given=given: _must_be_refused(given))


def _read_options(words: list[str]) -> None:
    read_run_options(words)


def _must_be_refused(words: list[str]) -> None:
    read_run_options(words)
    raise Silent("taken")


def fuzz_urls(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Storage URLs, none of which may show a part of its password."""
    schemes = ("postgresql", "postgresql+psycopg", "sqlite", "mysql", "embedded", "journal", "")
    marks = [
        "@",
        ":",
        "/",
        "?",
        "#",
        "%",
        "%40",
        "[",
        "]",
        " ",
        "\n",
        "\\",
        "é",
        "'",
        '"',
        "&",
        "=",
    ]
    for _ in range(220 * times):
        secret = "".join(dice.choice((dice.choice(marks), "Zq7Xw9")) for _ in range(4)) + "Zq7Xw9"
        host = dice.choice(("h", "h:1", "h:x", "[::1]", "", "h:99999999999", "h@i"))
        query = dice.choice(("", "", "?a=b", "?password=Zq7Xw9", "?a", "?a=1&a=2"))
        name = dice.choice(("/db", "", "/", "/a/b", "/:memory:", "//x.db"))
        url = f"{dice.choice(schemes)}://u:{secret}@{host}{name}{query}"
        tally.take("storage URLs", url, lambda url=url: _use_url(url))
    for word in STRINGS:
        for scheme in ("sqlite:///", "journal:", "embedded:", "postgresql://"):
            tally.take("storage URLs", word, lambda url=scheme + word: _use_url(url))


def _use_url(url: str) -> None:
    try:
        shown = redacted(url)
    except TransferSearchError as error:
        shown = str(error)
    if "Zq7Xw9" in shown and not url.startswith(("sqlite", "journal", "embedded")):
        raise Silent(f"shows its password: {shown}")


# --- corpora, predictions


KINDS = ("ner", "pos", "classification", "nli", "similarity", "mlm", "qa", "retrieval")


def _written(kind: str, folder: Path) -> tuple[Any, dict[str, Any], Path, DataSource]:
    """A task of a kind with its columns, the file that they are in, and its source."""
    columns = toy_columns(kind, 12)
    more: dict[str, Any] = {}
    if kind == "retrieval":
        more = {"files": ["retrieval/{language}/{split}.{side}"], "languages": ["eng", "swa"]}
    task = make_task(kind, **more)
    folder = folder / kind
    file = folder / f"{kind}/swa/dev.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "qa":
        rows = zip(*columns.values(), strict=True)
        asked = [
            {
                "context": context,
                "qas": [
                    {
                        "id": name,
                        "question": question,
                        "answers": [
                            {"text": x["text"], "answer_start": x["start"]} for x in answers
                        ],
                    }
                ],
            }
            for name, question, context, answers in rows
        ]
        file.write_text(json.dumps({"data": [{"paragraphs": asked}]}))
    elif kind == "retrieval":
        file = folder / "retrieval/swa/dev.swa"
        half = len(columns["text"]) // 2
        file.write_text("".join(f"{x}\n" for x in columns["text"][:half]))
        file.with_suffix(".eng").write_text("".join(f"{x}\n" for x in columns["text"][half:]))
    else:
        write_split(file, columns)
    return task, columns, file, DataSource(SourceKind.LOCAL, folder)


def fuzz_corpora(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Corpus files of each format; what is taken has as many words as the file has."""
    for kind in KINDS:
        task, _, file, source = _written(kind, folder)
        text = file.read_text()

        def use(task: Any = task, source: DataSource = source, file: Path = file) -> None:
            rows = load_split(task, "swa", "validation", source)
            first = rows[task.kind.columns[0]][:]
            if task.kind.is_tagging:
                lines = decoded(file.read_bytes()).replace("\r\n", "\n").split("\n")
                held = sum(bool(line.strip()) or "\t" in line.strip(" ") for line in lines)
                words = sum(map(len, first))
                if words > held or words < sum(bool(x.strip()) for x in lines):
                    raise Silent(f"{held} lines, {words} words")

        for _ in range(27 * times):
            data = broken_text(text, dice)
            file.write_bytes(data)
            tally.take("corpora", f"{kind}: {data[:200]!r}", use)
        if kind == "qa":
            for _ in range(20 * times):
                data = json.dumps(changed(json.loads(text), dice)).encode()
                file.write_bytes(data)
                tally.take("corpora", f"{kind}: {data[:200]!r}", use)
        file.unlink()
        os.mkfifo(file)
        tally.take("corpora", f"{kind}: a FIFO", use)


def fuzz_predictions(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Files of predictions; as many are taken as there are examples."""
    for kind in ("ner", "classification", "similarity", "qa", "retrieval"):
        task, _, file, source = _written(kind, folder / "gold")
        file.replace(file.with_name(file.name.replace("dev", "test")))
        if kind == "retrieval":
            file.with_suffix(".eng").replace(file.with_name("test.eng"))
        split = load_test_split(task, "swa", source, Purpose.BENCHMARK)
        gold = list(split[task.kind.columns[-1]][:])
        if kind == "qa":
            gold = [x[0]["text"] for x in gold]
        if kind == "retrieval":
            gold = gold[: len(gold) // 2]
        write_predictions(folder, task, "swa", "test", split, gold)
        made = folder / task.name / predictions_file(task, "swa", "test")
        text = made.read_text()

        def use(task: Any = task, made: Path = made, split: Any = split, gold: Any = gold) -> None:
            found = read_predictions(made, task, split)
            if len(found) != len(gold):
                raise Silent(f"{len(found)} predictions of {len(gold)} examples")

        for _ in range(18 * times):
            data = broken_text(text, dice)
            made.write_bytes(data)
            tally.take("predictions", f"{kind}: {data[:200]!r}", use)


# --- encoders


def fuzz_encoders(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Folders of an encoder whose files are broken, or of different encoders."""
    whole = folder / "whole"
    tokenizer, config = encoder_parts("bert")
    BertModel(config).save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    tasks = [make_task(x) for x in ("ner", "classification", "qa")]
    place = folder / "encoder"

    def use() -> None:
        backbone = load_backbone(str(place))
        check_fits(backbone, tasks, {"target.max_length": 64})

    def must_be_refused() -> None:
        use()
        raise Silent("taken")

    def fresh() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)

    fresh()
    tally.take("encoders", "whole", lambda: _must_be_taken(use))
    names = sorted(x.name for x in whole.iterdir())
    for number in range(60 * times):
        fresh()
        name = names[number % len(names)]
        file = place / name
        if name.endswith(".safetensors"):
            data = file.read_bytes()
            size = int.from_bytes(data[:8], "little")
            head, rest = data[: 8 + size].decode("latin-1"), data[8 + size :]
            broken = broken_text(head, dice) if dice.random() < 0.5 else head.encode("latin-1")
            file.write_bytes(broken + rest[: dice.choice((None, 0, len(rest) // 2))])
        elif dice.random() < 0.6:
            file.write_text(json.dumps(changed(json.loads(file.read_text()), dice)))
        else:
            file.write_bytes(broken_text(file.read_text(), dice))
        tally.take("encoders", name, use)
    for field_name, value in (
        *(("num_hidden_layers", x) for x in (10**6, 3, 10**400, "two", None, -1, 1.5)),
        *(("hidden_size", x) for x in (10**9, 0, -1, 33)),
        *(("vocab_size", x) for x in (10**12, 1, 5)),
        *(("max_position_embeddings", x) for x in (10**12, 63, 0)),
        *(("num_attention_heads", x) for x in (0, 7, 10**9)),
        *(("type_vocab_size", 10**10), ("model_type", "t5"), ("model_type", "x")),
    ):
        fresh()
        changed_config = {**json.loads((place / "config.json").read_text()), field_name: value}
        (place / "config.json").write_text(json.dumps(changed_config))
        is_less = field_name == "num_hidden_layers" and value == 1
        tally.take("encoders", f"{field_name} {value!r:.40}", use if is_less else must_be_refused)
    weights = load_file(whole / "model.safetensors")
    for key in (sorted(weights)[0], sorted(weights)[-1], "encoder.layer.1.output.dense.weight"):
        for value in (float("nan"), float("inf")):
            fresh()
            spoilt = {x: w.clone() for x, w in weights.items()}
            spoilt[key].view(-1)[0] = value
            save_file(spoilt, place / "model.safetensors", metadata={"format": "pt"})
            tally.take("encoders", f"{value} in {key}", must_be_refused)
    fresh()
    tokenizer.add_tokens(["asha2", "lamu2"])
    tokenizer.save_pretrained(place)
    tally.take("encoders", "a tokenizer that is larger", must_be_refused)


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


PARTS: dict[str, Callable[[Tally, random.Random, Path, int], None]] = {
    "studies": fuzz_studies,
    "set": fuzz_overrides,
    "options": fuzz_options,
    "urls": fuzz_urls,
    "corpora": fuzz_corpora,
    "predictions": fuzz_predictions,
    "encoders": fuzz_encoders,
    "outbox": fuzz_outbox,
    "databases": fuzz_databases,
}


def main() -> int:
    """Try the inputs; the exit code is 1 where any of them is at fault."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="a tenth of them, within 50 CPU s")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", choices=PARTS)
    options.add_argument("--show", action="store_true", help="show each fault")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    quiet_libraries()
    quiet_optuna()
    tally = Tally(shows=chosen.show)
    for name, fuzz in PARTS.items():
        if chosen.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                os.environ["TRANSFER_SEARCH_STATE"] = folder
                dice = random.Random(f"{chosen.seed} {name}")
                fuzz(tally, dice, Path(folder), QUICK if chosen.quick else WHOLE)
    result = {
        "tried": tally.total("taken", "refused", "tracebacks", "hangs", "silent"),
        "clean": tally.total("taken", "refused"),
        "refused": tally.total("refused"),
        **{x: tally.total(x) for x in ("tracebacks", "hangs", "silent")},
        "by_part": {name: dict(count) for name, count in tally.counts.items()},
        "cpu_seconds": round(time.process_time(), 1),
        "seed": chosen.seed,
    }
    print(json.dumps(result))
    return int(bool(tally.faults))


if __name__ == "__main__":
    raise SystemExit(main())
