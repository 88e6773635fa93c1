"""Predictions of checkpoints and trials; scored again they have the model's own score."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.data_source import DataSource, SourceKind
from objectives.data.encoding import EncodedSplit, encode
from objectives.hardware import Hardware
from objectives.models.encoders import build_model, load_backbone
from objectives.runner import Runner
from objectives.scores.languages import predict_languages, score_languages
from objectives.scores.retrieval import pair_f1
from objectives.scores.sentences import above, gold_pairs, mining_threshold
from objectives.xtreme import benchmark
from objectives.xtreme.benchmark import benchmark_split
from search import evaluate, predict, run
from spaces.catalogue import load_catalogue
from spaces.errors import SpecError, StorageError, TransferSearchError, UnknownNameError
from spaces.recipe import Schedule, Similarity, Stage
from spaces.task import Task
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.raising import ends_with
from tests.search_tests.conftest import STUDY, Workplace

CATALOGUE = load_catalogue()
LANGUAGES = ["qaa", "qac"]
MAX_LENGTH = 48
CPU = Hardware(torch.device("cpu"), "float32")

MakeCheckpoint = Callable[[str], tuple[Path, PreTrainedModel]]


@pytest.fixture
def make_checkpoint(tmp_path: Path, encoder: Path) -> MakeCheckpoint:
    """Writes the folder of an untrained model for a task."""

    def make(task: str) -> tuple[Path, PreTrainedModel]:
        backbone = load_backbone(str(encoder))
        model = build_model(backbone, backbone.weights, CATALOGUE[task], seed=3)
        folder = tmp_path / "checkpoint"
        model.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
        return folder, model

    return make


def run_predict(folder: Path, task: str, to: Path, *options: str) -> None:
    words = ["--checkpoint", str(folder), "--task", task, "--to", str(to), "--data", "pocket"]
    words += ["--precision", "float32", "--device", "cpu", *options]
    assert predict.main(words) == 0


def scored(
    capsys: pytest.CaptureFixture[str], task: str, folder: Path, split: str
) -> dict[str, float]:
    """Language -> what `evaluate` says."""
    capsys.readouterr()
    words = ["--task", task, "--predictions", str(folder), "--split", split, "--data", "pocket"]
    assert evaluate.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["tasks"][task]["languages"]
    return {language: scores["score"] for language, scores in found.items()}


def own_scores(model: PreTrainedModel, task: Task, encoder: Path, split: str) -> dict[str, float]:
    """Language -> what a study would say of the model."""
    tokenizer = load_backbone(str(encoder)).tokenizer
    stage = Stage(
        *(task.name, 0, 0.0, 1, 0, 0.0, MAX_LENGTH, Schedule.LINEAR),
        pooled_layer=1,
        similarity=Similarity.MARGIN,
    )
    source = DataSource(SourceKind.POCKET)
    splits = {
        x: encode(benchmark_split(task, x, split, source), task, tokenizer, MAX_LENGTH)
        for x in LANGUAGES
    }
    found = score_languages(model, splits, task, stage, Runner(CPU, Padding.of(tokenizer)))
    return {language: score.score for language, score in found.items()}


@pytest.mark.parametrize(
    "task",
    [
        *("pocket_ner", "pocket_pos", "pocket_topic", "pocket_sentiment", "pocket_nli"),
        *("pocket_pairs", "pocket_similarity", "pocket_qa", "pocket_retrieval", "pocket_mining"),
    ],
)
def test_predictions_scored_again_have_the_models_own_score(
    tmp_path: Path,
    encoder: Path,
    make_checkpoint: MakeCheckpoint,
    capsys: pytest.CaptureFixture[str],
    task: str,
) -> None:
    folder, model = make_checkpoint(task)
    options = ["--languages", *LANGUAGES, "--max-length", str(MAX_LENGTH)]
    options += ["--pooled-layer", "1", "--similarity", "margin"]
    run_predict(folder, task, tmp_path / "to", *options, "--split", "validation")
    found = scored(capsys, task, tmp_path / "to", "validation")
    assert found == own_scores(model, CATALOGUE[task], encoder, "validation")


def test_classes_in_another_order_are_put_right(
    tmp_path: Path,
    encoder: Path,
    make_checkpoint: MakeCheckpoint,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, model = make_checkpoint("pocket_ner")
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    tags = CATALOGUE["pocket_ner"].tags
    change_config(folder, id2label=dict(enumerate(reversed(tags))))
    options = ["--languages", *LANGUAGES, "--max-length", str(MAX_LENGTH)]
    run_predict(folder, "pocket_ner", tmp_path / "to", *options)
    expected = own_scores(model, CATALOGUE["pocket_ner"], encoder, "test")
    assert scored(capsys, "pocket_ner", tmp_path / "to", "test") == expected
    assert len(set(expected.values())) > 1


def test_the_threshold_of_mining_comes_from_the_validation_split(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = make_checkpoint("pocket_mining")
    run_predict(folder, "pocket_mining", tmp_path / "to", "--languages", *LANGUAGES)
    found = scored(capsys, "pocket_mining", tmp_path / "to", "test")

    backbone = load_backbone(str(folder))
    source, task = DataSource(SourceKind.POCKET), CATALOGUE["pocket_mining"]
    model = build_model(backbone, backbone.weights, task, 0)
    stage = Stage(task.name, 0, 0.0, 1, 0, 0.0, 128, Schedule.LINEAR, pooled_layer=-1)

    def mine(split: str) -> tuple[dict[str, EncodedSplit], dict[str, list[Any]]]:
        splits = {
            x: encode(benchmark_split(task, x, split, source), task, backbone.tokenizer, 128)
            for x in LANGUAGES
        }
        padding = Padding.of(backbone.tokenizer)
        return splits, predict_languages(model, splits, task, stage, Runner(CPU, padding))

    tuning, candidates = mine("validation")
    test, mined = mine("test")
    for language in LANGUAGES:
        threshold = mining_threshold(candidates[language], gold_pairs(tuning[language]))
        taken = above(mined[language], threshold)
        assert 0 < len(taken) < len(mined[language])
        assert found[language] == pair_f1(taken, gold_pairs(test[language]))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("pocket_ner", r": expected \d+ tags for this sentence, found \d+$"),
        ("pocket_topic", r": expected (\d+) predictions, found \d+$"),
        ("pocket_qa", r": expected answers to \d+ questions, found \d+ answers"),
        ("pocket_retrieval", r": expected \d+ sentence numbers, found \d+$"),
    ],
)
def test_a_file_that_was_cut_by_hand_is_told_in_one_line(
    tmp_path: Path,
    make_checkpoint: MakeCheckpoint,
    capsys: pytest.CaptureFixture[str],
    task: str,
    message: str,
) -> None:
    folder, _ = make_checkpoint(task)
    run_predict(folder, task, tmp_path / "to", "--languages", "qaa")
    (file,) = (tmp_path / "to" / task).iterdir()
    if file.suffix == ".json":
        answers = json.loads(file.read_text())
        answers.popitem()
        file.write_text(json.dumps(answers))
    else:
        text = file.read_text().removesuffix("\n\n").removesuffix("\n")
        file.write_text(text[: text.rindex("\n") + 1])
    capsys.readouterr()
    words = ["--task", task, "--predictions", str(tmp_path / "to"), "--data", "pocket"]
    with pytest.raises(SystemExit) as ended:
        evaluate.main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"error: {file}:" in error
    assert re.search(message, error.strip()), error


def test_all_languages_are_predicted_by_default_and_the_next_command_is_shown(
    tmp_path: Path, make_checkpoint: MakeCheckpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = make_checkpoint("pocket_topic")
    run_predict(folder, "pocket_topic", tmp_path / "to")
    out = capsys.readouterr().out
    codes = CATALOGUE["pocket_topic"].languages
    written = {path.name for path in (tmp_path / "to" / "pocket_topic").iterdir()}
    assert written == {f"test-{code}.tsv" for code in codes}
    assert f"{len(codes)} files in {tmp_path / 'to' / 'pocket_topic'}" in out
    (command,) = re.findall("^score:  python -m search.evaluate (.*)$", out, re.MULTILINE)
    assert evaluate.main(shlex.split(command)) == 0
    assert f"mean over {len(codes)} of {len(codes)} languages" in capsys.readouterr().out


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_checkpoint_that_does_not_fit_is_told_in_one_line(
    tmp_path: Path,
    encoder: Path,
    make_checkpoint: MakeCheckpoint,
) -> None:
    def run(task: str, where: Path) -> None:
        words = ["--checkpoint", str(where), "--task", task, "--to", str(tmp_path / "to")]
        predict.main([*words, "--data", "pocket"])

    folder, _ = make_checkpoint("pocket_ner")
    with ends_with(TransferSearchError, expected="a BertForTokenClassification"):
        run("pocket_ner", encoder)
    with ends_with(TransferSearchError, found="BertForTokenClassification"):
        run("pocket_topic", folder)
    with ends_with(TransferSearchError, expected="the labels of pocket_pos (ADJ, "):
        run("pocket_pos", folder)
    words = ["--checkpoint", str(folder), "--to", str(tmp_path / "to"), "--data", "pocket"]
    words += ["--task", "pocket_ner"]
    with ends_with(SpecError, subject="--max-length", expected="3 to ", found="9999"):
        predict.main([*words, "--max-length", "9999"])
    with ends_with(UnknownNameError, found="qax", expected="in task 'pocket_ner'"):
        predict.main([*words, "--languages", "qax"])
    with ends_with(UnknownNameError, found="pocket_nerr", advice="pocket_ner"):
        predict.main([*words, "--task", "pocket_nerr"])
    change_config(folder, architectures=None)
    weights = load_file(folder / "model.safetensors")
    weights.pop("classifier.bias")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with ends_with(TransferSearchError, expected="a trained head", found="no classifier.bias"):
        run("pocket_ner", folder)
    assert not (tmp_path / "to").exists()


@pytest.fixture(scope="module")
def of_two_tasks(encoder: Path, built_once: Callable[..., Path]) -> Path:
    """The folder of a study of two tasks, of which two trials are complete."""

    def build(folder: Path) -> None:
        (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
        words = ["--study", "tiny.toml", "--data", "pocket", "--backbone", str(encoder), "--quiet"]
        words += ["--threads", "1", "--precision", "float32", "--trials", "2"]
        with chdir(folder):
            tasks = 'target.tasks=["pocket_ner", "pocket_retrieval"]'
            assert run.main([*words, "--set", tasks]) == 0

    return built_once("two-tasks", build)


@pytest.fixture
def tiny(workplace: Workplace, of_two_tasks: Path) -> list[str]:
    """The options that name a copy of that study."""
    shutil.copytree(of_two_tasks, workplace.folder, dirs_exist_ok=True)
    to = str(workplace.folder / "to")
    return ["--study", "tiny", "--storage", workplace.storage, "--to", to]


def test_a_trial_is_trained_again_and_has_the_score_that_it_had(
    workplace: Workplace,
    tiny: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials = Ledger(open_storage(workplace.storage).engine).pairs("tiny", "validation")
    trial = max(trials)
    for task in ("pocket_ner", "pocket_retrieval"):
        own = [pair.score for pair in trials[trial] if pair.score.task == task]
        expected = {score.language: score.score for score in own}
        words = [*tiny, "--task", task, "--trial", str(trial)]  # in the study's own languages
        assert predict.main(words) == 0
        assert len(expected) < len(CATALOGUE[task].languages)
        assert {path.name for path in (workplace.folder / "to" / task).iterdir()} == {
            f"validation-{language}.tsv" for language in expected
        }
        assert scored(capsys, task, workplace.folder / "to", "validation") == expected

    # The test split is read only when it is asked for.
    read = []

    def benchmark_split(task: Task, language: str, split: str, source: DataSource) -> Dataset:
        read.append(split)
        return original(task, language, split, source)

    original = benchmark.benchmark_split
    monkeypatch.setattr(benchmark, "benchmark_split", benchmark_split)
    words = [*tiny, "--task", "pocket_retrieval", "--trial", "0", "--languages", "qaa"]
    assert predict.main(words) == 0
    assert set(read) == {"validation"}
    read.clear()
    assert predict.main([*words, "--split", "test"]) == 0
    assert set(read) == {"test"}
    assert (workplace.folder / "to/pocket_retrieval/test-qaa.tsv").is_file()

    # It is counted, and so is scoring what it wrote.
    ledger = Ledger(open_storage(workplace.storage).engine)
    (seen,) = ledger.test_reads("tiny")
    assert (seen.command, seen.what) == ("predict", "trial 0 on pocket_retrieval")
    with chdir(workplace.folder):  # where the study's storage lies
        scored(capsys, "pocket_retrieval", workplace.folder / "to", "test")
    assert [x.command for x in ledger.test_reads("tiny")] == ["predict", "evaluate"]


def test_what_is_wrong_with_a_trial_is_told_in_one_line(
    workplace: Workplace, tiny: list[str]
) -> None:
    ner = [*tiny, "--task", "pocket_ner"]
    with ends_with(TransferSearchError, expected="a complete trial (0, 1)", found="99"):
        predict.main([*ner, "--trial=99"])
    with ends_with(SpecError, subject="--max-length", expected="no such option with --study"):
        predict.main([*ner, "--trial=0", "--max-length=9"])
    with ends_with(StorageError, found="real corpora", advice="name its own with --data"):
        predict.main([*ner, "--trial=0", "--data", str(workplace.folder)])
    with ends_with(UnknownNameError, found="7", expected="one of the trial's", advice="0"):
        predict.main([*ner, "--trial=0", "--seed=7"])
    with ends_with(UnknownNameError, found="pocket_pos", expected="in the recipe"):
        predict.main([*tiny, "--task", "pocket_pos", "--trial=0"])
    assert not (workplace.folder / "to").exists()


def test_a_study_with_tasks_of_its_own_is_opened_from_its_storage_alone(
    workplace: Workplace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = CATALOGUE["pocket_ner"].model_dump(mode="json", exclude_unset=True)
    own = {key: value for key, value in own.items() if key != "name"}
    fields = {key: value for key, value in own.items() if isinstance(value, str | list)}
    rows = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    rows += [
        f"{key} = {{{', '.join(f'{k} = {json.dumps(v)}' for k, v in value.items())}}}"
        for key, value in own.items()
        if isinstance(value, dict)
    ]
    file = workplace.folder / "tiny.toml"
    file.write_text(file.read_text() + "\n".join(["[tasks.mine]", *rows]) + "\n")
    mine = ["--set", 'target.tasks=["mine"]', "--name", "other", "--trials", "1"]
    done = workplace.search(*mine, "--precision", "float32")
    assert done.returncode == 0, done.stderr
    file.rename(workplace.folder / "elsewhere.toml")
    words = ["--study", "other", "--storage", workplace.storage, "--task", "mine", "--trial", "0"]
    to = workplace.folder / "to"
    capsys.readouterr()
    assert predict.main([*words, "--to", str(to), "--languages", "qaa"]) == 0
    file = file.with_name("elsewhere.toml").rename(file)
    (command,) = re.findall(
        "^score:  python -m search.evaluate (.*)$", capsys.readouterr().out, re.M
    )
    monkeypatch.chdir(workplace.folder)
    assert evaluate.main([*shlex.split(command), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["tasks"]["mine"]["languages"]["qaa"]["score"]
    pairs = Ledger(open_storage(workplace.storage).engine).pairs("other", "validation")[0]
    assert [pair.score.score for pair in pairs if pair.score.language == "qaa"] == [score]
