"""A study from Python: opened, run, read, confirmed and exported as the commands do it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import pytest

from search import Study
from search.command_line.stop_signal import StopSignal
from search.notebook.hosting import hosted
from search.report import main as report_command
from spaces.errors import SpecError, UnknownNameError
from tests.raising import raises
from tests.search_tests.conftest import ROOT, Workplace

MARKED = re.compile(r"<!-- python -->\n```python\n(.*?)```", re.DOTALL)
LIGHT = """
import contextlib, sys
import search
from search import run
with contextlib.suppress(SystemExit):
    run.main(["--help"])
found = [x for x in ("torch", "pandas", "optuna", "sqlalchemy") if x in sys.modules]
assert not found, found
assert search.Study.__name__ == "Study"
assert "torch" not in sys.modules
"""


def example(workplace: Workplace) -> str:
    """The example of search/README.md, on the tests' study."""
    (code,) = MARKED.findall((ROOT / "search" / "README.md").read_text(encoding="utf-8"))
    assert 'Study.open("xtreme_legal")' in code
    opened = f'Study.open("tiny.toml", data="pocket", backbone={str(workplace.encoder)!r})'
    code = str(code).replace('Study.open("xtreme_legal")', opened).replace("trials=60", "trials=4")
    return code.replace('-report")', '-report", png=False)')  # which takes a browser's start


@pytest.fixture
def study(searched: Workplace) -> Study:
    """The finished study, known by its name."""
    return Study.open("tiny", storage=searched.storage)


def test_no_command_loads_what_a_study_needs(workplace: Workplace) -> None:
    done = workplace.run(sys.executable, "-c", LIGHT)
    assert done.returncode == 0, done.stderr


def test_the_example_of_the_readme_runs(searched: Workplace) -> None:
    searched.capsys.readouterr()
    with chdir(searched.folder):
        exec(example(searched), {"__name__": "example"})  # as a person pastes it
    assert "Legal and pocket_ner: " in searched.capsys.readouterr().out
    assert (searched.folder / "xtreme_legal-report" / "index.html").exists()


def test_what_it_says_is_what_the_report_says(study: Study, searched: Workplace) -> None:
    words = ("--study", "tiny", "--storage", searched.storage, "--to", "said", "--no-png")
    done = searched.call(report_command, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads((searched.folder / "said" / "report.json").read_text())
    assert study.answer == report["answer"]
    shown = study._repr_html_()
    for part in (report["question"], report["asked"], "Pocket corpora: generated text"):
        assert part in shown
    page = study.report(searched.folder / "mine", png=False)
    said = searched.folder / "said" / "index.html"
    assert page.read_text() == said.read_text()


def test_its_tables_are_tidy(study: Study) -> None:
    recipes, scores, arms = study.recipes(), study.scores(), study.arms()
    assert not recipes.duplicated(["trial"]).any()
    assert recipes["runs"].sum() == 4
    trials = scores[scores["kind"] == "trial"]
    assert set(zip(trials["trial"], trials["language"], strict=True)) == {
        (trial, language) for trial in range(4) for language in ("qaa", "qab")
    }
    assert [*zip(arms["target"], arms["arm"], strict=True)] == [
        ("pocket_ner", "general"),
        ("pocket_ner", "legal"),
        ("", "general"),
        ("", "legal"),
    ]
    for x in arms.itertuples():
        assert x.low <= x.gain <= x.high
        assert x.intermediate == recipes.set_index("trial").loc[x.trial, "intermediate"]


def test_its_figures_are_those_of_the_report(study: Study) -> None:
    assert "pocket corpora" in study.figure("landscape").layout.title.text
    assert "every intermediate task" in study.figure("tasks").layout.title.text
    with raises(UnknownNameError, found="landscap", advice="did you mean 'landscape'"):
        study.figure("landscap")


def test_a_stored_study_goes_on_with_what_it_was_begun_with(
    study: Study, searched: Workplace
) -> None:
    assert (study.address.file, study.address.data) == ("tiny.toml", "pocket")
    assert study.address.backbone == str(searched.encoder)
    with chdir(searched.folder):
        study.run(4, threads=1, quiet=True)  # nothing is left to do
    assert study.recipes()["runs"].sum() == 4


def test_a_study_that_is_nowhere_is_said_at_once(searched: Workplace) -> None:
    with raises(UnknownNameError, found="tinny", advice="did you mean 'tiny'?"):
        Study.open("tinny", storage=searched.storage)
    with raises(UnknownNameError, found="xtreme_lega", advice="did you mean 'xtreme_legal'?"):
        Study.open("xtreme_lega", storage=f"sqlite:///{searched.folder / 'none.sqlite'}")
    assert not (searched.folder / "none.sqlite").exists()
    with raises(SpecError, subject="nowhere.toml"):
        Study.open("nowhere.toml", storage=searched.storage)


def test_before_its_first_run_a_cell_says_what_to_do(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'none.sqlite'}"
    shown = Study.open("xtreme_legal", storage=storage)._repr_html_()
    assert "Not run yet" in shown
    assert "low-resource" in shown or "legal" in shown


def test_workers_on_a_cluster_are_left_to_the_command(study: Study) -> None:
    with raises(SpecError, subject="launcher", expected="search.run --launcher ray"):
        study.run(5, launcher="ray")


def test_an_interrupt_asks_the_work_to_end_and_spares_the_process() -> None:
    ended = []

    def work(stop: StopSignal) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            while True:
                stop.check()
                time.sleep(0.01)
        finally:
            ended.append(stop.number)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            hosted(work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [signal.SIGTERM]


def test_what_the_work_raises_is_raised() -> None:
    def work(stop: StopSignal) -> None:
        raise SpecError("--trials", "a number", "none")

    with raises(SpecError, subject="--trials"):
        hosted(work)


@pytest.mark.slow
def test_it_estimates_what_a_run_takes_and_keeps_nothing(
    workplace: Workplace, study: Study
) -> None:
    with chdir(workplace.folder):
        found = study.estimate(20, threads=1, quiet=True)
    assert (found.trials, found.study) == (20, "tiny")
    assert 0 < found.seconds < 3600, "from now, however long this process was there before"
    assert found.stages_trained <= found.stages_asked
    assert "20 trials" in str(found)
    assert study.recipes()["runs"].sum() == 4


@pytest.mark.slow
def test_it_confirms_and_exports(study: Study, searched: Workplace) -> None:
    with chdir(searched.folder):
        study.confirm(recipes=1, max_seeds=3, anyway=True, threads=1)
        said = searched.capsys.readouterr().out
        study.confirm()  # again: it is shown
        folder = study.export("model", threads=1)
    assert said
    assert searched.capsys.readouterr().out.endswith(said)
    assert "recipes that were confirmed" in study.answer
    assert (searched.folder / folder / "model.safetensors").exists()


@pytest.mark.slow
def test_a_notebook_shows_the_answer(searched: Workplace) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra 'slow-test' is not installed")
    pytest.importorskip("nbclient", reason="the extra 'slow-test' is not installed")
    pytest.importorskip("ipykernel", reason="the extra 'slow-test' is not installed")
    cells = [example(searched), 'study.figure("tasks").layout.title.text', "study"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(x) for x in cells])
    file = searched.folder / "study.ipynb"
    nbformat.write(notebook, file)
    # In a process of its own, as jupyter is: its event loop and its threads stay out of here.
    execute = (
        "import sys, nbformat, nbclient\n"
        "notebook = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(notebook, timeout=200, kernel_name='python3').execute()\n"
        "nbformat.write(notebook, sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", execute, str(file)],
        cwd=searched.folder,
        env={**searched.environment(), "PYTHONWARNINGS": "", "JUPYTER_PATH": str(kernels(file))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, last = nbformat.read(file, 4).cells
    (output,) = last.outputs
    assert "Legal and pocket_ner: " in output["data"]["text/html"]


def kernels(file: Path) -> Path:
    """A folder with a kernel of this Python."""
    from ipykernel.kernelspec import write_kernel_spec

    folder = file.parent / "jupyter"
    write_kernel_spec(str(folder / "kernels" / "python3"))
    return folder
