"""Broken inputs for `tests.benchmarks.fuzz`: what a text, a value or a folder may be made into."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

HUGE = "9" * 5000
STRINGS = [
    *(
        "",
        " ",
        "\n",
        "\0",
        "\ufeff",
        "\udcff",
        "\u2028",
        "é" * 3,
        "e\u0301",
        "..",
        "/",
        "a/b",
        "~",
    ),
    *(
        "x.toml",
        "x" * 300,
        "x" * 100_000,
        "[/x]",
        "[law]",
        ":smile:",
        "=1+1",
        "'; DROP TABLE x",
        "%",
    ),
    *("{}", "{language}", "{0.__class__}", "\\", '"', "nan", "-1", "1e400", "../../etc/passwd"),
]
NUMBERS: list[Any] = [
    *(0, -1, 1, 2**31, 2**63, 2**64, 10**9, 10**30, -(2**63), 0.0, -0.5, 0.5, 1e308, 5e-324),
    *(float("nan"), float("inf"), True, False),
]
VALUES: list[Any] = [
    *STRINGS,
    *NUMBERS,
    *([], [[]], {}, [1, "a"], [None], list(range(2000)), ["a"] * 5, [0.1, 0.1], {"a": {"b": 1}}),
    *({"low": 1e-5, "high": 1e-4, "points": 10**8}, {"low": 1e-5, "high": 1e-4, "points": 3}),
]


def toml_value(value: Any) -> str:
    """A value as TOML spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value).replace("\\udcff", "\\u00ff").replace("\x7f", "")
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
        )
    return '"none"' if value is None else repr(value)


def broken_text(text: str, dice: random.Random) -> bytes:
    """A text with one or two things wrong in it."""
    data = text.encode()
    for _ in range(dice.choice((1, 1, 2))):
        data = dice.choice(_BREAKS)(data, dice)
    return data


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _drop(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at + dice.choice((1, 5, 50)) :]


def _double(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at : at + dice.choice((1, 20, 200))] + data[at:]


def _put(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    what = dice.choice(
        (
            *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b'"', b"'", b"\\", b"[", b"{"),
            *(
                b"\xe2\x80\xa8",
                b"\xf0\x9f\x98\x80",
                b"=",
                b",",
                b"-1",
                HUGE.encode(),
                b"[" * 10_000,
            ),
            *(b"\xed\xb3\xbf", b"null", b"NaN", b"1e999", b"x" * 100_000),
        )
    )
    return data[:at] + what + data[at:]


def _swap_lines(data: bytes, dice: random.Random) -> bytes:
    lines = data.split(b"\n")
    dice.shuffle(lines)
    return b"\n".join(lines)


def _ends(data: bytes, dice: random.Random) -> bytes:
    return data.replace(b"\n", dice.choice((b"\r\n", b"\r", b"\n\n", b"")))


def _wide(data: bytes, dice: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    way = dice.choice(("utf-16", "utf-16-le", "latin-1", "NFD"))
    if way == "NFD":
        return unicodedata.normalize("NFD", text).encode("utf-8", "replace")
    return text.encode(way, "replace")


def _flip(data: bytes, dice: random.Random) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


_BREAKS: Sequence[Callable[[bytes, random.Random], bytes]] = (
    *(_cut, _drop, _double, _put, _put, _put, _swap_lines, _ends, _wide, _flip),
)


def changed(value: Any, dice: random.Random) -> Any:
    """A JSON value with one thing in it replaced, dropped or doubled."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(sorted(value))
        made = dict(value)
        match dice.randrange(6):
            case 0:
                del made[key]
            case 1:
                made[dice.choice(STRINGS)] = dice.choice(VALUES)
            case _:
                made[key] = changed(value[key], dice)
        return made
    if isinstance(value, list) and value and dice.random() < 0.9:
        at, made = dice.randrange(len(value)), list(value)
        match dice.randrange(6):
            case 0:
                del made[at]
            case 1:
                made.insert(at, value[at])
            case _:
                made[at] = changed(value[at], dice)
        return made
    return dice.choice([*VALUES, None])
