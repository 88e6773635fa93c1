"""Commands that a report shows: pasted into a shell they reach the study, with all it needs."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.run_options import RunOptions
from search.confirm import main as confirm_command
from search.findings.confirmation import ConfirmationPlan
from search.reporting.page import ReportRequest, write_report
from search.run import main as run_command
from search.studies.stored_study import open_stored_study
from spaces.stage_specs import Aggregate
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.search_tests.conftest import ROOT, Workplace
from tests.search_tests.test_report import confirm
from tests.studies import PLANS, Plan, write_study

VARIABLE = "TRANSFER_SEARCH_STORAGE"
ADDRESS = StudyAddress(
    file="my studies/own.toml",
    name="synthetic",
    storage="",
    data="/corpora/first one:/corpora/second",
    backbone="/encoders/of mine",
    overrides=('target.languages=["qaa", "qab"]', "target.examples=400"),
    cache="/scratch/checkpoints",
)


URL = "postgresql+psycopg://me:s3cret@host/studies"
BEHIND_A_PASSWORD = replace(ADDRESS, storage=URL)


def keep_address(storage_url: str, address: StudyAddress) -> None:
    """Keep with a study how it was reached, as its run does."""
    with closing(open_storage(storage_url)) as storage:
        study = optuna.load_study(study_name=address.name, storage=storage)
        study.set_user_attr("address", json.dumps(address.kept()))


def nothing_more(url: str) -> None:
    """The search alone."""


def with_verdict(verdict: str, gain: float) -> Callable[[str], None]:
    """A confirmation that ended so."""
    return lambda url: confirm(url, verdict, gain)


def begun(url: str) -> None:
    """A confirmation that was interrupted."""
    storage = open_storage(url)
    plan = ConfirmationPlan((), {}, (2, 3, 4), (3,), 1.0, 4, Aggregate.MEAN)
    Ledger(storage.engine).begin_confirmation("synthetic", 1, plan.as_json())
    storage.close()


RUNNING = [*PLANS, Plan(dict(PLANS[-1].params), seed=1, state=TrialState.RUNNING)]


@pytest.mark.parametrize(
    ("plans", "prepare", "commands"),
    [
        pytest.param(PLANS, nothing_more, ["confirm", "run"], id="searched"),
        pytest.param(PLANS[:1], nothing_more, ["run"], id="an arm is missing"),
        pytest.param(PLANS, begun, ["confirm"], id="begun"),
        pytest.param(PLANS, with_verdict("helps", 2.5), ["export"], id="helps"),
        pytest.param(
            PLANS,
            with_verdict("undecided", 0.5),
            ["export"],
            id="undecided",
        ),
    ],
)
def test_every_command_of_a_page_reaches_the_study(
    plans: list[Plan],
    prepare: Callable[[str], None],
    commands: list[str],
    postgresql_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, postgresql_url)
    write_study(postgresql_url, plans, source="local")
    keep_address(postgresql_url, ADDRESS)
    prepare(postgresql_url)
    written = write_report(ReportRequest("synthetic", postgresql_url, tmp_path / "out", png=False))
    shown = commands_in(written.page.parent)
    assert [command.split()[2] for command in shown] == [f"search.{name}" for name in commands]
    for file in filter(Path.is_file, written.page.parent.iterdir()):
        assert b"s3cret" not in file.read_bytes(), file
    for command in shown:
        options = parsed(command)
        assert options["storage"] == postgresql_url
        assert options["data"] == ADDRESS.data
        assert options["cache"] == ADDRESS.cache
        if ".run " in command:
            assert options["study"] == ADDRESS.file
            assert options["name"] == ADDRESS.name
            assert options["backbone"] == ADDRESS.backbone
            assert tuple(options["overrides"]) == ADDRESS.overrides
        else:
            assert options["study"] == ADDRESS.name


def commands_in(folder: Path) -> list[str]:
    """The commands of a report, which are the same on the page, in Markdown and in JSON."""
    on_page = re.findall(r"<code>(.*?)</code>", (folder / "index.html").read_text(), re.DOTALL)
    in_markdown = re.findall(r"```sh\n  (.*?)\n  ```", (folder / "report.md").read_text())
    numbers: dict[str, Any] = json.loads((folder / "report.json").read_text())
    commands = [command for _, command in numbers["next"]]
    shown = [html.unescape(re.sub("<.*?>", "", code)) for code in on_page]
    assert shown == in_markdown == commands
    return commands


def parsed(command: str) -> dict[str, Any]:
    """What a command's own parser makes of a line that a shell has split."""
    assert "***" not in command
    module, words = shlex.split(command)[2], split(command)
    place = "search.command_line.run_options" if module == "search.run" else module
    options: dict[str, Any] = vars(import_module(place).parser().parse_args(words))
    return options


def split(command: str) -> list[str]:
    """The words that a shell gives a command."""
    python, flag, _, *words = (os.path.expandvars(word) for word in shlex.split(command))
    assert (python, flag) == ("python", "-m")
    return words


def test_extending_a_study_has_all_that_it_was_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, URL)
    found = parsed(next_command("extend", BEHIND_A_PASSWORD))
    for name in ("name", "data", "backbone", "cache", "storage"):
        assert found[name] == getattr(BEHIND_A_PASSWORD, name)
    assert (found["study"], tuple(found["overrides"])) == (ADDRESS.file, ADDRESS.overrides)


@pytest.mark.parametrize(("command", "more"), [("confirm", ()), ("export", ("--to", "x"))])
def test_a_command_that_trains_again_needs_the_folders_and_the_cache(
    command: str, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, URL)
    found = parsed(next_command(command, BEHIND_A_PASSWORD, *more))
    assert (found["study"], found["data"], found["cache"]) == (
        "synthetic",
        ADDRESS.data,
        ADDRESS.cache,
    )
    assert found["backbone"] is None, "the storage knows it"
    pocket = StudyAddress("s.toml", "s", URL, data="pocket")
    assert "--data" not in next_command(command, pocket), "the storage knows it, too"


@pytest.mark.parametrize("command", ["status", "report", "cost", "dashboard"])
def test_a_command_that_reads_needs_the_name_and_the_storage(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, URL)
    found = parsed(next_command(command, BEHIND_A_PASSWORD))
    # Of several studies there is a report, too.
    study = ["synthetic"] if command == "report" else "synthetic"
    assert (found["study"], found["storage"]) == (study, URL)
    assert found.get("cache") == (ADDRESS.cache if command == "dashboard" else None)


def test_a_password_is_never_shown_and_never_masked() -> None:
    line = next_command("status", BEHIND_A_PASSWORD)
    assert line.endswith('--storage "$TRANSFER_SEARCH_STORAGE"')
    assert "s3cret" not in line
    assert "***" not in line
    assert "s3cret" not in json.dumps(BEHIND_A_PASSWORD.kept())


def test_what_is_the_default_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFER_SEARCH_STORAGE", raising=False)
    address = RunOptions("studies/s.toml").study_address("s", "hub")
    assert next_command("status", address) == "python -m search.status --study s"
    assert next_command("run", address, "--trials", "8") == (
        "python -m search.run --study studies/s.toml --data hub --trials 8"
    )
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", "embedded")
    assert next_command("status", address).endswith(f"--storage {address.storage}")


def test_an_address_comes_back_from_what_is_kept_of_it() -> None:
    kept = json.loads(json.dumps(BEHIND_A_PASSWORD.kept()))
    assert StudyAddress.restored(kept, URL) == BEHIND_A_PASSWORD


def test_of_several_targets_each_has_a_model_of_its_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    targets = ["pocket_nli", "pocket_topic"]
    write_study(url, [], target={"tasks": targets, "languages": ["qaa", "qab"]})
    confirm(url, "helps", 2.5)
    written = write_report(ReportRequest("synthetic", url, tmp_path / "out", png=False))
    shown = [parsed(command) for command in commands_in(written.page.parent)]
    assert [options["task"] for options in shown] == targets
    assert len({options["to"] for options in shown}) == 2


def test_an_older_version_of_a_study_is_named_with_its_number(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, PLANS)
    write_study(url, [], name="synthetic@2")
    for study, named in (("synthetic@1", "synthetic@1"), ("synthetic", "synthetic")):
        to = tmp_path / study
        shown = commands_in(write_report(ReportRequest(study, url, to, png=False)).page.parent)
        assert parsed(shown[0])["study"] == named


@pytest.mark.slow
def test_a_pasted_command_runs_in_another_folder(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, postgresql_url)
    write_study(postgresql_url, RUNNING)
    keep_address(postgresql_url, ADDRESS)
    written = write_report(ReportRequest("synthetic", postgresql_url, tmp_path / "out", png=False))
    (command,) = commands_in(written.page.parent)
    done = pasted(f"{command} --no-png", tmp_path)
    assert done.returncode == 0, done.stderr
    assert commands_in(tmp_path / "synthetic-report") == [command]


def test_what_is_pasted_needs_nothing_besides(workplace: Workplace, tmp_path: Path) -> None:
    """With data, encoder, changed fields, name and cache that are none of the study file's."""
    changed = ["--set", "first_seed=3", "--set", "target.examples=32", "--name", "mine"]
    cache = ["--cache", str(tmp_path / "a cache")]
    fixed = ["--threads", "1", "--precision", "float32"]
    ran = workplace.search(*changed, *cache, *fixed, "--trials", "3", "--quiet")
    assert ran.returncode == 0, ran.stderr
    written = write_report(ReportRequest("mine", workplace.storage, tmp_path / "out", png=False))
    confirm, run = commands_in(written.page.parent)
    fewest = ["--top", "1", "--max-seeds", "1", "--anyway", "--threads", "1"]
    done = workplace.call(confirm_command, *split(confirm), *fewest)
    assert done.returncode == 0, done.stderr
    more = re.sub(r"--trials \d+", shlex.join(["--trials", "4", "--quiet", *fixed]), run)
    assert workplace.call(run_command, *split(more)).returncode == 0
    study = open_stored_study(workplace.storage, "mine")
    with closing(study.storage):
        assert len(study.optuna_study.trials) == 4
        assert len(study.confirmations) == 1


def pasted(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line that is typed into a shell in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
