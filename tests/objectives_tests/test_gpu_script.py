"""The script for the day that there is a card works but for the card, with few libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# As on a machine that has none of them: found nowhere, in this process or one that it starts.
WITHOUT = """
import importlib.machinery
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {"optuna", "sqlalchemy", "datasets"}:
            return None
        return PathFinder.find_spec(name, path, target)

import sys
sys.meta_path[:] = [Finder if x is PathFinder else x for x in sys.meta_path]
"""


def found_by(folder: Path, *words: str) -> dict[str, Any]:
    """What the script finds in a process without the libraries."""
    (folder / "sitecustomize.py").write_text(WITHOUT)
    places = os.pathsep.join((str(folder), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": places}
    refused = subprocess.run(
        [sys.executable, "-c", "import datasets"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert b"No module named 'datasets'" in refused.stderr
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu", "--smoke", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["device"] == "cpu (1 threads)"
    for section, values in found.items():
        assert not isinstance(values, dict) or not {"error", "skipped"} & values.keys(), section
    return found


@pytest.mark.slow
def test_the_script_needs_no_optuna_no_sqlalchemy_and_no_datasets(tmp_path: Path) -> None:
    found = found_by(tmp_path, "--sections", "peak", "loop", "scores")
    assert found["loop"]["largest_loss_difference"] == 0, "eager and recorded"
    assert found["scores"]["equal_predictions"] == 1
    assert found["loop"]["graphs"]["share_of_peak"] > 0


@pytest.mark.slow
def test_every_section_works_but_for_the_card(tmp_path: Path) -> None:
    found = found_by(tmp_path)
    assert found["memory"]["was_cut"]
    assert found["memory"]["largest_loss_difference"] < 1e-4
    assert found["trainer"]["ratio"] > 0
    assert set(found["workers"]["turns"]) == {"1", "2"}
