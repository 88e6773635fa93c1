"""The main job as a user runs it: a process, a folder, a database, signals."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna_dashboard import get_note

from tests.processes import wait_until
from tests.search_tests.conftest import Workplace
from tests.search_tests.test_pasted_commands import parsed

COMPLETE = (optuna.trial.TrialState.COMPLETE,)


def _study(workplace: Workplace, name: str = "tiny") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=workplace.storage)


def _rows(workplace: Workplace, query: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(workplace.storage)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text(query))]
    engine.dispose()
    return rows


def _assert_whole(workplace: Workplace, trials: int) -> None:
    """Exactly `trials` results, each complete trial with its ledger rows, none running."""
    study, direct = _study(workplace), _study(workplace, "tiny.baseline")
    assert len(study.get_trials(states=COMPLETE)) == trials
    for one in (study, direct):
        complete = {trial.number for trial in one.get_trials(states=COMPLETE)}
        assert not one.get_trials(states=(optuna.trial.TrialState.RUNNING,))
        counted = _rows(
            workplace,
            "SELECT trial_number, COUNT(*) FROM transfer_results "
            f"WHERE study_name = '{one.study_name}' GROUP BY trial_number",
        )
        assert dict(counted) == dict.fromkeys(complete, 2)  # two languages, one seed
    runs = [
        (one.study_name, *sorted(x.params.items()), x.user_attrs["seed"])
        for one in (study, direct)
        for x in one.get_trials(states=COMPLETE)
    ]
    assert len(set(runs)) == len(runs), "no run is repeated"


def test_a_run_trains_its_trials_and_shows_every_arm(workplace: Workplace) -> None:
    done = workplace.search()
    assert done.returncode == 0, done.stderr
    first, *_ = done.stderr.splitlines()
    assert first.startswith("data: pocket corpora (generated, version")
    assert "asked for with --data pocket" in first
    said = done.stderr.splitlines()
    direct = [i for i, line in enumerate(said) if re.match(r"direct training \d.* score \d", line)]
    (best,) = (i for i, x in enumerate(said) if x.startswith("best direct training of pocket_ner"))
    trials = [i for i, line in enumerate(said) if re.match(r"trial \d.* gain [+-]\d", line)]
    assert (len(trials), len(direct)) == (5, 1), done.stderr
    assert max(direct) < best < min(trials)
    for arm in ("general", "legal"):
        row = rf"^pocket_ner +{arm} +[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]"
        assert re.search(row, done.stdout, re.MULTILINE), done.stdout
    assert "1 direct training; trials: 5 complete; selected on" in done.stdout
    assert "best direct training of pocket_ner: score " in done.stdout
    assert "--trials 10" in done.stdout
    assert "search.dashboard --study tiny" in done.stdout
    _assert_whole(workplace, 5)
    study, baseline = _study(workplace), _study(workplace, "tiny.baseline")
    for trial in study.get_trials(states=COMPLETE):
        assert trial.params["intermediate.domain"] in {"general", "legal"}
        assert "intermediate.task" in trial.params
    assert {x.params["intermediate.domain"] for x in baseline.trials} == {"none"}
    assert max(x.datetime_complete for x in baseline.trials if x.datetime_complete) < min(
        x.datetime_start for x in study.trials if x.datetime_start
    )
    assert [study.metric_names, baseline.metric_names] == [
        ["gain of one run over direct training, points (pocket corpora)"],
        ["score of a direct training, percent (pocket corpora)"],
    ]
    assert "pocket corpora" in get_note(study)


def test_more_trials_extend_a_study_and_the_same_number_trains_nothing(
    searched: Workplace,
) -> None:
    again = searched.search("--trials", "4")
    assert again.returncode == 0
    assert "4 of 4 trials are done already" in again.stderr
    _assert_whole(searched, 4)
    assert searched.search("--trials", "5", "--quiet").returncode == 0
    _assert_whole(searched, 5)


def test_the_same_study_run_twice_proposes_and_scores_the_same(
    searched: Workplace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = replace(searched, folder=tmp_path_factory.mktemp("other"))
    (other.folder / "tiny.toml").write_text((searched.folder / "tiny.toml").read_text())
    assert other.search("--quiet", "--trials", "4").returncode == 0
    for name in ("tiny", "tiny.baseline"):
        first, second = (
            [(trial.params, trial.value) for trial in _study(place, name).trials]
            for place in (searched, other)
        )
        assert first == second


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM, "interrupted"),
        pytest.param(
            *(signal.SIGKILL, -signal.SIGKILL, "its worker was killed"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_signal_costs_only_the_running_trial_which_a_second_run_retries(
    workplace: Workplace, number: signal.Signals, code: int, reason: str
) -> None:
    process = workplace.start(*workplace.command("--trials", "2", "--set", "target.epochs=10"))
    _wait_for_running_trial(workplace, process, finished=1)
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == code, output
    assert "Traceback" not in output
    done = workplace.search("--trials", "2", "--set", "target.epochs=10")
    assert done.returncode == 0, done.stderr
    failed = _study(workplace).get_trials(states=(optuna.trial.TrialState.FAIL,))
    assert [trial.user_attrs["reason"] for trial in failed] == [reason]
    _assert_whole(workplace, 2)
    _assert_retried(workplace, failed[0])


def _wait_for_running_trial(
    workplace: Workplace, process: subprocess.Popen[str], finished: int
) -> None:
    """Until `finished` trials are complete and another one has its recipe."""
    database = workplace.folder / "transfer-search.sqlite"
    query = (
        "SELECT COUNT(*) FROM trials JOIN studies USING (study_id) "
        "WHERE study_name = 'tiny' AND state = 'COMPLETE' UNION ALL "
        "SELECT COUNT(DISTINCT trials.trial_id) FROM trials JOIN studies USING (study_id) "
        "JOIN trial_params USING (trial_id) WHERE study_name = 'tiny' AND state = 'RUNNING'"
    )

    def is_running() -> bool:
        if not database.exists() or not _has_table(workplace, "trial_params"):
            return False
        complete, running = (row[0] for row in _rows(workplace, query))
        return complete >= finished and running > 0

    wait_until(is_running, process)


def _has_table(workplace: Workplace, name: str) -> bool:
    return bool(_rows(workplace, f"SELECT 1 FROM sqlite_master WHERE name = '{name}'"))


def _assert_retried(workplace: Workplace, failed: optuna.trial.FrozenTrial) -> None:
    retries = [
        trial
        for trial in _study(workplace).get_trials(states=COMPLETE)
        if trial.user_attrs.get("retry_of") == failed.number
    ]
    assert len(retries) == 1
    assert failed.params.items() <= retries[0].params.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--study", "tiney.toml"), "tiney.toml: expected a readable file, found No such file"),
        (("--data", "nowhere"), "expected auto, real, hub, pocket or a folder, found 'nowhere'"),
        (
            ("--storage", "postgresql+psycopg://me:pa55@127.0.0.1:1/x"),
            "storage postgresql+psycopg://me:***@127.0.0.1:1/x: expected a reachable database",
        ),
        (("--backbone", "./nowhere"), "backbone './nowhere': expected a folder, found none there"),
        (("--device", "cuda:7"), "--device: expected auto, cpu, cuda or cuda:N, found 'cuda:7'"),
        (("--precision", "int8"), "--precision: expected auto, float32 or bfloat16, found 'int8'"),
        (("--set", "target.examples=5000"), "expected 5000 training examples, found"),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    workplace: Workplace, options: tuple[str, ...], message: str
) -> None:
    done = workplace.search(*options)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == errors[0]
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert "pa55" not in done.stderr + done.stdout


def test_it_ends_when_the_recommendation_is_expected_to_be_near_enough(
    searched: Workplace,
) -> None:
    done = searched.search("--trials", "9", "--until", "1000")
    assert done.returncode == 0, done.stderr
    _assert_whole(searched, 4)
    assert "the recommendation is within 1000 points, as asked for" in done.stderr
    # What it ends at is what the answer says.
    within = r"expected to be within (\d+\.\d) points of the best \w+ \(with 90 %: (\d+\.\d)\)"
    assert re.findall(within, done.stderr) == re.findall(within, done.stdout) != []


def test_a_study_refuses_another_encoder(searched: Workplace, tmp_path: Path) -> None:
    other = tmp_path / "other-encoder"
    other.mkdir()
    for file in searched.encoder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    same = searched.search("--trials", "5", "--backbone", str(other))
    assert same.returncode == 0, same.stderr  # the same content at another place
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(
        config.replace('"hidden_act": "gelu"', '"hidden_act": "relu"')
    )
    done = searched.search("--trials", "6", "--backbone", str(other))
    assert done.returncode == 2
    assert re.search(r"backbones.backbone: \w{8} then, \w{8} now", done.stderr), done.stderr


def test_a_study_never_mixes_data_sources(searched: Workplace, tmp_path: Path) -> None:
    _write_local_corpora(tmp_path)
    options = _on_local_tasks(searched)
    done = searched.search("--data", str(tmp_path), *options)
    assert done.returncode == 2
    assert (
        "expected pocket corpora, from which it was made, found real corpora; studies never "
        "mix real corpora with invented ones: name its own with --data, or run another study with "
        "--name tiny_local"
    ) in done.stderr
    options += ["--trials", "2", "--quiet"]
    own = searched.search("--data", str(tmp_path), *options, "--name", "tiny_local")
    assert own.returncode == 0, own.stderr
    assert len(_study(searched, "tiny_local").get_trials(states=COMPLETE)) == 2


_LOCAL_TASKS = "".join(
    f"""
[tasks.{name}]
kind = "ner"
domain = "{domain}"
role = "both"
title = "A corpus of one sentence"
languages = ["qas", "qaa"]
labels = ["PER"]
metric = "span_f1"
licence = "CC0"
urls.data = "https://example.org"
urls.licence = "https://example.org"
files = ["{{language}}/{{split}}.conll"]
"""
    for name, domain in (("mine", "general"), ("law", "legal"))
)


def _write_local_corpora(folder: Path) -> None:
    for name in ("qas/train", "qas/dev", "qaa/dev"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.conll").write_text("Ola\tB-PER\nran\tO\n\n" * 64)


def _on_local_tasks(workplace: Workplace) -> list[str]:
    """Add the tasks above to the study; the options that make it one of them."""
    study = workplace.folder / "tiny.toml"
    study.write_text(study.read_text() + _LOCAL_TASKS)
    changes = (
        'intermediate.tasks=["mine", "law"]',
        'target.tasks=["mine"]',
        'target.languages=["qaa"]',
    )
    return [word for change in changes for word in ("--set", change)]


def test_broken_data_ends_the_run_before_any_trial(workplace: Workplace, tmp_path: Path) -> None:
    for language in ("qas", "qaa"):
        (tmp_path / language).mkdir()
    (tmp_path / "qas" / "train.conll").write_text("Ola\tB-PER\n\nran\tI-PER\n")
    (tmp_path / "qaa" / "dev.conll").write_text("Ola\tB-PER\n")
    options = _on_local_tasks(workplace)
    done = workplace.search("--data", str(tmp_path), *options)
    assert done.returncode == 2
    assert f"{tmp_path / 'qas' / 'train.conll'}:3: expected IOB2" in done.stderr
    assert not list(workplace.folder.glob("*.sqlite")), "an empty database helps nobody"


def test_the_commands_that_a_run_shows_reach_its_study(
    workplace: Workplace, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a study under another name, on folders of the environment, behind a password."""
    folder = workplace.folder / "my data"
    _write_local_corpora(folder)
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", postgresql_url)
    monkeypatch.setenv("TRANSFER_SEARCH_DATA", str(folder))
    changed = _on_local_tasks(workplace)
    options = [*changed, "--data", "auto", "--name", "other", "--trials", "1"]
    done = workplace.search(*options, "--cache", "the cache")
    assert done.returncode == 0, done.stderr
    lines = (line.split(":  ", 1) for line in done.stdout.splitlines() if "  python -m" in line)
    shown = {name.strip(): command.strip() for name, command in lines}
    assert {"confirm it, on test splits", "a page with all of it"} < shown.keys()
    assert "s3cret" not in done.stdout + done.stderr

    monkeypatch.delenv("TRANSFER_SEARCH_DATA")
    again, browse = (parsed(shown[name]) for name in ("search on", "browse the trials"))
    for found, study in ((again, "tiny.toml"), (browse, "other")):
        assert (found["study"], found["storage"]) == (study, postgresql_url)
        assert found["cache"] == "the cache"
    assert (again["name"], again["trials"], again["data"]) == ("other", 2, str(folder))
    assert again["backbone"] == str(workplace.encoder)
    assert list(again["overrides"]) == changed[1::2]
