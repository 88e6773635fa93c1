"""The Hub over HTTP: libraries as they are, a loopback server that answers as the Hub does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from objectives.hub_problems import HubRepository, hub_problem_with
from tests.hub_server import HubServer, Repository, hub_server

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "validation", "test")
CARD = """---
configs:
- config_name: sw
  data_files:
  - {split: train, path: sw/train.parquet}
  - {split: validation, path: sw/validation.parquet}
  - {split: test, path: sw/test.parquet}
- config_name: yo
  data_files:
  - {split: validation, path: yo/validation.parquet}
---
"""


def table(**columns: list[Any]) -> bytes:
    """A table with class names, as parquet."""
    names = datasets.ClassLabel(names=["law", "sport"])
    file = io.BytesIO()
    datasets.Dataset.from_dict(columns).cast_column("label", names).to_parquet(file)
    return file.getvalue()


def news(text: str) -> bytes:
    """Two rows that say where they are from."""
    return table(text=[text, "b"], label=[0, 1])


def repositories() -> dict[str, Repository]:
    """All cases."""
    configs = {
        f"{x}/{split}.parquet": news(f"{x} {split}") for x in ("sw", "yo") for split in SPLITS
    }
    converted = {
        f"{config}/{split}/0000.parquet": news(f"{config} {split}")
        for config in ("swa", "yor")
        for split in SPLITS
    }
    encoder = {"config.json": b"{}", "tokenizer.json": b"{}"}
    return {
        "datasets/me/news": Repository({"main": {"README.md": CARD.encode(), **configs}}),
        "datasets/me/script": Repository(
            {"main": {"script.py": b"raise SystemExit"}, "refs/convert/parquet": converted}
        ),
        "datasets/me/gated": Repository({"main": {"README.md": b"---\n---\n"}}, gated=True),
        "datasets/me/renamed": Repository(moved="me/news"),
        "datasets/me/busy": Repository(status=429),
        "datasets/me/torn": Repository({"main": {"data/validation.parquet": news("a")[:-40]}}),
        "models/me/encoder": Repository(
            {
                "main": {**encoder, "pytorch_model.bin": b""},
                "refs/pr/3": {**encoder, "model.safetensors": b""},
            }
        ),
        "models/me/whole": Repository(
            {"main": {**encoder, "model.safetensors": b"", "run.py": b""}}
        ),
        "models/me/gated": Repository({"main": encoder}, gated=True),
    }


NEWS = {"repository": "me/news", "config": "{iso2}"}
CONVERTED = {"repository": "me/script", "revision": "refs/convert/parquet", "folder": "{language}"}
CASES: dict[str, list[Any]] = {
    "a configuration": ["task", "classification", "swa", NEWS],
    "another language": ["task", "classification", "yor", NEWS],
    "renamed": ["task", "classification", "yor", {**NEWS, "repository": "me/renamed"}],
    "converted": ["task", "classification", "yor", CONVERTED],
    "script": ["task", "classification", "swa", {"repository": "me/script"}],
    "gated": ["task", "classification", "swa", {"repository": "me/gated"}],
    "nobody's": ["task", "classification", "swa", {"repository": "me/nothing"}],
    "no such revision": ["task", "classification", "swa", {**NEWS, "revision": "0" * 40}],
    "no such configuration": ["task", "classification", "swa", {**NEWS, "config": "fr"}],
    "busy": ["task", "classification", "swa", {"repository": "me/busy"}],
    "torn": ["task", "classification", "swa", {"repository": "me/torn"}],
    "encoder": ["encoder", "me/whole"],
    "encoder as pickle": ["encoder", "me/encoder"],
    "encoder of nobody": ["encoder", "me/nothing"],
    "gated encoder": ["encoder", "me/gated"],
}


def read_by_another(endpoint: str, home: Path, cases: list[list[Any]]) -> list[Any]:
    """What a new process reads, in which nothing of the libraries is changed."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.objectives_tests.hub_reader"],
        input=json.dumps(cases),
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    results: list[Any] = json.loads(ran.stdout)
    return results


@pytest.fixture(scope="module")
def hub() -> Any:
    """The server."""
    with hub_server(repositories()) as running:
        yield running


@pytest.fixture(scope="module")
def came(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each case, by its name."""
    home = tmp_path_factory.mktemp("hub")
    return dict(zip(CASES, read_by_another(hub.endpoint, home, list(CASES.values())), strict=True))


def test_a_split_of_a_configuration_is_read_over_http(came: dict[str, Any]) -> None:
    assert came["a configuration"] == {"text": ["sw validation", "b"], "label": ["law", "sport"]}
    assert came["another language"]["text"] == ["yo validation", "b"]


def test_one_of_several_configurations_of_a_converted_branch_is_read(came: dict[str, Any]) -> None:
    """Its main branch has a script. Class names survive."""
    assert came["converted"] == {"text": ["yor validation", "b"], "label": ["law", "sport"]}


def test_a_repository_that_was_renamed_is_followed(came: dict[str, Any]) -> None:
    assert came["renamed"]["text"] == ["yo validation", "b"]


@pytest.mark.parametrize(
    ("case", "repository", "said"),
    [
        ("script", "me/script", "a loading script, which is code, in place of tables"),
        ("gated", "me/gated", "gated: its owners ask who wants it"),
        ("nobody's", "me/nothing", "no such repository: moved, taken down or private"),
        ("no such revision", "me/news", f"no revision {'0' * 40}: rewritten or taken down"),
        ("no such configuration", "me/news", "BuilderConfig 'fr' not found"),
        ("busy", "me/busy", "too many requests from here for now (429); again in 0 seconds"),
        ("torn", "me/torn", "cannot be read"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_task_and_repository(
    case: str, repository: str, said: str, came: dict[str, Any]
) -> None:
    line = came[case]
    assert line.startswith(f"task 'toy_classification': Hugging Face hub, {repository} ")
    assert said in line
    assert "\n" not in line


@pytest.mark.slow
def test_the_cache_is_no_substitute_for_another_commit(tmp_path: Path) -> None:
    """Where the Hub is not to be had, datasets takes what its cache has of the repository."""
    plain = {"repository": "me/plain"}
    repository = Repository({"main": {"data/validation.parquet": news("new")}, "old": {}})
    with hub_server({"datasets/me/plain": repository}) as hub:
        commit = repository.commit("main")
        pinned = ["task", "classification", "swa", {**plain, "revision": commit}]
        (read,) = read_by_another(hub.endpoint, tmp_path, [pinned])
        hub.repositories["datasets/me/plain"] = Repository(status=404)
        other = ["task", "classification", "swa", {**plain, "revision": "0" * 40}]
        again, refused = read_by_another(hub.endpoint, tmp_path, [pinned, other])
    assert read["text"] == ["new", "b"]
    assert again == read
    assert f"expected its cache to have commit 000000000000, found {commit[:12]}" in refused


GOT = """
question = "Is all of it there?"
arms = ["none", "legal"]
backbone = "me/whole"
intermediate = {tasks = ["acts"], epochs = 1, learning_rate = 1e-3}
target = {tasks = ["news"], languages = ["swa", "yor"], epochs = 1, learning_rate = 1e-3}
"""


def hub_record(name: str, domain: str, languages: list[str], hub: dict[str, str]) -> str:
    """A task of a study file that lies on the Hub."""
    record = {
        "kind": "classification",
        "domain": domain,
        "role": "target" if domain == "general" else "intermediate",
        "title": name,
        "languages": languages,
        "labels": ["law", "sport"],
        "metric": "accuracy",
        "licence": "CC BY 4.0",
        **{f"urls.{x}": "https://example.org" for x in ("data", "licence")},
        **{f"hub.{key}": value for key, value in hub.items()},
    }
    fields = "".join(f"{key} = {json.dumps(value)}\n" for key, value in record.items())
    return f"[tasks.{name}]\n{fields}"


@pytest.mark.slow
def test_all_of_a_study_is_got_from_the_hub_once_and_runs_offline_from_then_on(
    tmp_path: Path,
) -> None:
    converted = {"revision": "refs/convert/parquet", "folder": "{language}"}
    served = repositories()
    tables = {f"eng/{split}/0000.parquet": news(f"eng {split}") for split in SPLITS}
    script = served["datasets/me/script"].branches
    tables |= script["refs/convert/parquet"]
    served["datasets/me/script"] = Repository({**script, "refs/convert/parquet": tables})
    served["datasets/me/acts"] = Repository({"main": {"data/train.parquet": news("act")}})
    study = tmp_path / "study.toml"
    languages = ["eng", "swa", "yor"]
    study.write_text(
        GOT
        + hub_record("news", "general", languages, {"repository": "me/script", **converted})
        + hub_record("acts", "legal", ["eng"], {"repository": "me/acts"})
    )
    folder = tmp_path / "data"
    get = ["get", "--study", str(study), "--to", str(folder)]
    with hub_server(served) as hub:
        printed = data_command(get, tmp_path, HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="0")
        commit = served["datasets/me/script"].commit("refs/convert/parquet")
    assert "get: news (eng, swa, yor) from Hub me/script@refs/convert" in printed
    assert "4 corpora are here\nencoder me/whole: here" in printed
    written = {x.relative_to(folder).as_posix() for x in folder.rglob("*.jsonl")}
    assert written >= {f"news/{x}/{y}.jsonl" for x in ("swa", "yor") for y in ("dev", "test")}
    assert written >= {"acts/eng/train.jsonl", "news/eng/train.jsonl"}
    assert json.loads((folder / "news/yor/origin.json").read_text())["revision"] == commit
    first = json.loads((folder / "news/yor/dev.jsonl").read_text().splitlines()[0])
    assert first == {"text": "yor validation", "label": "law"}
    printed = data_command(["check", str(folder), "--study", str(study)], tmp_path)
    assert printed.endswith(" 0 problems, 0 missing\n")
    assert "encoder me/whole: here" in data_command(get, tmp_path)


def data_command(words: list[str], home: Path, **changes: str) -> str:
    """What `search.data` prints in a process of its own."""
    places = {"HF_HOME": str(home / "hf"), "TRANSFER_SEARCH_CORPORA": str(home / "corpora")}
    ran = subprocess.run(
        [sys.executable, "-m", "search.data", *words],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **places, **changes},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Generating" not in ran.stderr
    return ran.stdout


def test_an_encoder_is_downloaded_without_what_is_none_of_it(
    came: dict[str, Any], hub: HubServer
) -> None:
    revision, files = came["encoder"]
    assert revision == hub.repositories["models/me/whole"].commit("main")
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]


def test_weights_as_pickle_alone_are_not_downloaded_and_the_way_round_is_said(
    came: dict[str, Any], hub: HubServer
) -> None:
    line = came["encoder as pickle"]
    assert "pytorch_model.bin alone, which can run code when it is read" in line
    assert (
        "`hf download me/encoder --revision refs/pr/N --local-dir DIR`, then --backbone DIR"
        in line
    )
    assert not [x for x in hub.asked if "pytorch_model.bin" in x]


def test_an_encoder_that_the_hub_refuses_is_one_line(came: dict[str, Any]) -> None:
    assert "no such repository: moved, taken down or private" in came["encoder of nobody"]
    assert "gated: its owners ask who wants it" in came["gated encoder"]


def test_a_hub_that_is_switched_off_is_told_from_one_that_lacks_it() -> None:
    """Through whatever a library wraps around it."""
    try:
        try:
            raise OfflineModeIsEnabled("offline")
        except OfflineModeIsEnabled as error:
            raise FileNotFoundError("not in the cache") from error
    except FileNotFoundError as error:
        problem = hub_problem_with(HubRepository("dataset", "me/news"), error)
    assert problem.found.startswith("the Hub is switched off (HF_HUB_OFFLINE)")


def test_a_hub_that_does_not_answer_is_told_from_one_that_lacks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    problem = hub_problem_with(HubRepository("dataset", "me/news"), FileNotFoundError("no file"))
    assert problem.found == "the Hub does not answer (ConnectError)"
