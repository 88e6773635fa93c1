"""What a command loads before it says that something is wrong, or makes its first update.

Loading is most of what a short command costs, so that what is loaded too early is a second lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.search_tests.conftest import ROOT, Workplace
from tests.studies import PLANS, write_study

NUMBERS = {"torch", "transformers", "datasets", "pandas", "scipy", "sklearn", "peft"}
DATABASES = {"optuna", "sqlalchemy"}
SHOWN = {"plotly", "optuna_dashboard"}
LEGAL = ("run", "--study", "xtreme_legal")
PREDICT = ("predict", "--task", "panx", "--to", "new")
SYNTHETIC = ("--study", "synthetic", "--storage", "sqlite:///study.db")

# Words of a command -> what its line of error has in it.
WITHOUT_STORAGE = {
    ("run", "--study", "xtreme_legl"): "Did you mean 'xtreme_legal'?",
    (*LEGAL, "--set", "target.exampels=1"): "exampels",
    (*LEGAL, "--data", "nowhere"): "--data: expected auto, real, hub, pocket or a folder",
    (*LEGAL, "--data", "empty"): "empty: expected all splits that it reads",
    (*LEGAL, "--data", "pocket", "--backbone", "./nowhere"): "backbone './nowhere'",
    (*LEGAL, "--data", "pocket", "--backbone", "empty"): "expected config.json in empty",
    (*LEGAL, "--data", "pocket", "--backbone", "xlmr"): "Did you mean 'xlm-r'?",
    (
        "predict",
        "--task",
        "panx",
        "--to",
        "new",
        "--checkpoint",
        "nowhere",
    ): "checkpoint 'nowhere'",
    (*PREDICT, "--checkpoint", "empty", "--data", "nowhere"): "--data",
    ("evaluate", "--task", "panx", "--predictions", "empty", "--data", "nowhere"): "--data",
    ("extend", "--study", "xtreme_legal", "--data", "nowhere"): "--data",
    ("data", "ls", "--data", "nowhere"): "--data",
    ("data", "check", "nowhere"): "nowhere: expected a folder",
    ("data", "get", "--study", "xtreme_legl"): "Did you mean 'xtreme_legal'?",
}
WITH_STORAGE = {
    (*LEGAL, "--data", "pocket", "--storage", "redis://x"): "expected sqlite:///FILE",
    (*LEGAL, "--data", "pocket", "--storage", "sqlite:///no/x.db"): "the folder no to exist",
    (*LEGAL, "--data", "pocket", "--storage", "postgresql+psycopg://x@localhost:1/x"): "reachable",
    **{
        (command, *words, "--study", "syntetic", *SYNTHETIC[2:]): "Did you mean 'synthetic'?"
        for command, *words in (
            ["confirm"],
            ["export", "--to", "new"],
            [*PREDICT, "--trial", "0"],
            ["report"],
            ["dashboard"],
            ["status"],
        )
    },
    ("compare", "synthetic", "syntetic", *SYNTHETIC[2:]): "Did you mean 'synthetic'?",
    ("confirm", *SYNTHETIC, "--data", "nowhere"): "--data",
    ("export", "--to", "new", *SYNTHETIC, "--backbone", "./nowhere"): "backbone './nowhere'",
}
AFTER_EACH = """
import contextlib, io, json, sys
from search import cli
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(said):
        cli.main(words)
    print(json.dumps([said.getvalue(), [name for name in sys.argv[1:] if name in sys.modules]]))
"""
AT_THE_FIRST_UPDATE = """
import gc, json, os, sys
from search import run
from search.workers.forecast import Forecast

def on_updates(self, stage, done):  # of a first stage
    position, task, seed = stage
    loaded = [name for name in ("torch", *unwanted) if name in sys.modules]
    print(json.dumps([f"{position} {task}", loaded, gc.isenabled(), gc.get_freeze_count()]))
    sys.stdout.flush()
    os._exit(0)

unwanted = json.load(sys.stdin)
Forecast.on_updates = on_updates
run.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("cases", "unwanted"),
    [(WITHOUT_STORAGE, NUMBERS | DATABASES | SHOWN), (WITH_STORAGE, NUMBERS | SHOWN)],
    ids=["without storage", "with storage"],
)
def test_what_is_wrong_is_said_before_anything_heavy_is_loaded(
    cases: dict[tuple[str, ...], str], unwanted: set[str], tmp_path: Path
) -> None:
    write_study(f"sqlite:///{tmp_path / 'study.db'}", PLANS)
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AFTER_EACH, *sorted(unwanted)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps([*cases]),
        capture_output=True,
        text=True,
        check=False,
    )
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ended) == len(cases), done.stderr
    for (words, expected), (said, loaded) in zip(cases.items(), ended, strict=True):
        *_, last = (line for line in said.splitlines() if not line.startswith("  "))
        assert last.startswith("error: "), words
        assert expected in last, words
        assert not loaded, words


def test_the_first_update_waits_for_no_library_that_only_scores_or_shows(
    workplace: Workplace,
) -> None:
    unwanted = ["sklearn", "seqeval", "scipy.stats", "peft", "optuna_dashboard", "plotly"]
    words = workplace.command()[3:]
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_FIRST_UPDATE, *words],
        cwd=workplace.folder,
        env=workplace.environment(),
        input=json.dumps(unwanted),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    stage, loaded, hunts, spared = json.loads(done.stdout.splitlines()[-1])
    assert (stage, loaded) == ("target pocket_ner", ["torch"])
    # Garbage is hunted for again by then, but not among what libraries made as they were loaded.
    assert hunts
    assert spared > 100_000
