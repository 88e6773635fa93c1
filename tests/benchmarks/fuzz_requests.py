"""Broken study files, `--set`, options, URLs, names and requests to the dashboard."""

from __future__ import annotations

import base64
import html
import itertools
import random
import re
import tomllib
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from objectives.data.choosing import choose_source
from search.command_line.markdown import code, for_spreadsheets, md
from search.command_line.run_options import read_run_options
from search.reporting.dashboard_access import Credentials, Guard
from search.studies.direct_trainings import plan_direct_trainings
from search.studies.study_file import read_study_file
from spaces.dimensions import search_space
from spaces.enumeration import points
from spaces.errors import TransferSearchError
from storage.urls import redacted
from tests.benchmarks.fuzz_inputs import HUGE, STRINGS, VALUES, broken_text, changed, toml_value
from tests.benchmarks.fuzz_tally import Silent, Tally, must_be_taken
from tests.objectives_tests.toys import STUDY


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
    whole = tomllib.loads(STUDY)
    for _ in range(120 * times):
        made = changed(whole, dice)
        lines = made if isinstance(made, dict) else {"x": made}
        text = "".join(f"{toml_value(str(k))} = {toml_value(v)}\n" for k, v in lines.items())
        file.write_text(text, encoding="utf-8")
        tally.take("study files", text[-300:], lambda: _use_study(str(file)))
    for value in ("[" * 10_000, f"{HUGE}", "{a=" * 10_000, '"' + "x" * 10**7 + '"'):
        file.write_text(f"{STUDY}\nextra = {value}\n")
        tally.take("study files", value[:50], lambda: _use_study(str(file)))
    for mark in ("utf-8-sig", "utf-16"):
        file.write_text(STUDY, encoding=mark)
        tally.take("study files", mark, lambda: must_be_taken(lambda: _use_study(str(file))))


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


def fuzz_places(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """`--data` with several folders, colons in their names, and what is none."""
    names = ("a", "a:b", "2026-05-01T10:30", "é", "e\u0301", " x", "x ", "~", "-x", "a b", "[x]")
    for name in names:
        (folder / name).mkdir()
    for _ in range(40 * times):
        parts = [str(folder / dice.choice(names)) for _ in range(dice.choice((1, 1, 2, 3)))]
        joined = ":".join(parts)
        tally.take("data", joined, lambda x=joined, y=parts: _use_data(x, y))
        odd = dice.choice(STRINGS) + dice.choice((":", "", "/", "::")) + dice.choice(STRINGS)
        tally.take("data", odd[:100], lambda x=odd: choose_source(x))


def _use_data(option: str, folders: list[str]) -> None:
    found = [str(x) for x in choose_source(option).folders]
    if found != folders:
        raise Silent(f"{found} for {option}")


def fuzz_visits(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Requests to the dashboard: strangers are let in under no name."""
    own = ("127.0.0.1:8080", "localhost", "[::1]:80", "study.example", "127.0.0.1")
    known = Credentials("ann", "secret")
    right = "Basic " + base64.b64encode(b"ann:secret").decode()
    guards = [(Guard(_let_in), False), (Guard(_let_in, known), True)]
    for _ in range(120 * times):
        guard, has_password = dice.choice(guards)
        asked = {"REQUEST_METHOD": dice.choice(("GET", "PUT", "BREW")), "REMOTE_ADDR": "::1"}
        for name in ("HOST", "ORIGIN", "AUTHORIZATION", "X_FORWARDED_HOST", "X_FORWARDED_FOR"):
            if dice.random() < 0.6:
                value = dice.choice((*own, *(f"https://{x}" for x in own), right, *STRINGS))
                if dice.random() < 0.5:
                    value = broken_text(value[:300].encode("utf-8", "replace").decode(), dice)[
                        :2000
                    ].decode("latin-1")
                asked[f"HTTP_{name}"] = value
        is_known = asked.get("HTTP_AUTHORIZATION", "").split(" ")[1:] == right.split(" ")[1:]
        may = is_known if has_password else bool(_OWN.fullmatch(asked.get("HTTP_HOST", "")))
        tally.take("visits", repr(asked), lambda a=asked, g=guard, m=may: _visit(g, a, may=m))


_OWN = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d*)?", re.IGNORECASE)


def _let_in(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


def _visit(guard: Guard, asked: dict[str, str], *, may: bool) -> None:
    statuses: list[str] = []
    guard(asked, lambda status, headers, *more: statuses.append(status))  # type: ignore[arg-type]
    if statuses[0].startswith("200") and not may:
        raise Silent("let in")


def fuzz_texts(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Text of others in Markdown, which is to be shown as it is, and in cells of tables."""
    reader = MarkdownIt().enable("table").enable("strikethrough")
    pieces = ("[x](y)", "<b>", "`", "``", "*", "_a_", "a_b_", "# ", "1. ", "- ", "> ", "|", "\\")
    pieces += (
        "&lt;",
        "&",
        "~~x~~",
        "!",
        "[",
        "]",
        "(",
        ":",
        "$x$",
        "=",
        "+",
        "@",
        "\t",
        "\n",
        "x",
    )
    for _ in range(150 * times):
        text = "".join(dice.choice(pieces) for _ in range(dice.randrange(1, 9)))
        tally.take("texts", repr(text), lambda x=text: _use_text(x, reader))


def _use_text(text: str, reader: MarkdownIt) -> None:
    line = " ".join(text.split())
    for made, wanted in ((md(text), "{}"), (code(text), "<code>{}</code>")):
        shown = reader.render(made).strip()
        shown = shown.removeprefix("<p>").removesuffix("</p>")
        if line and html.unescape(shown) != wanted.format(line):
            raise Silent(f"{made!r} is shown as {shown!r}")
    cell = for_spreadsheets(text)
    if str(cell).startswith(tuple("=+-@\t\r\n")) and not _is_number(text):
        raise Silent(f"a formula: {cell!r}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
