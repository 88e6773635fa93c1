"""Fingerprints: the same name for equal values everywhere, and none for what has no form."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.fingerprint import file_sha256, fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        (
            {"task": "panx", "learning_rate": 2e-5, "seed": 0, "parent": None},
            "5c65a95302954835b5be480afce787fdb9a6c8f4b99a7789f44a42e08426a9af",
        ),
        (
            ["é", "\u2028", "𝄞", True, 1.0],
            "3eb393e43df779d6b3f220386aafdbbefbe597198f940d6f1bb64368989fe31d",
        ),
    ],
)
def test_fingerprints_never_change(value: object, expected: str) -> None:
    """Every checkpoint and score on disk is named by them."""
    assert fingerprint(value) == expected


@given(st.dictionaries(st.text(), JSON))
@settings(max_examples=30)
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@given(st.lists(JSON))
@settings(max_examples=30)
def test_a_tuple_counts_as_a_list(value: list[object]) -> None:
    assert fingerprint({"a": tuple(value)}) == fingerprint({"a": value})


def test_values_that_python_calls_equal_or_prints_alike_differ() -> None:
    values = [0, 0.0, False, None, "", "0", [], {}, [0], ["0"], {"0": 0}, -0.0]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [{1: "a"}, {None: 1}, {"a": [{True: 1}]}, {"a": ({2.5: 1},)}])
def test_keys_that_are_no_strings_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="expected string keys, found"):
        fingerprint(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_numbers_that_are_not_finite_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Path("x"), {"a": [object()]}])
def test_what_json_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        fingerprint(value)


def test_another_process_gives_the_same_fingerprint() -> None:
    value = {"labels": ["B-PER", "I-PER"], "stage": {"epochs": 3, "rate": 1e-05}, "é": "\u2028"}
    script = f"from storage.fingerprint import fingerprint; print(fingerprint({value!r}))"
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == fingerprint(value)


def test_a_file_is_named_by_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    assert file_sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
