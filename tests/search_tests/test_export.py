"""The model that is handed over: loaded again it is the study's own, and its card says so much."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.sources import load_split
from objectives.models.encoders import build_model, load_backbone
from objectives.transfer import TransferObjective
from search import confirm, evaluate, export, predict, run
from search.findings.answer import answer_of
from search.findings.recommendation import of_trial, recommended
from search.findings.verdict_words import with_interval
from search.findings.verdicts import JudgedGain
from search.handover import exported_model
from search.handover.model_card import usage_example
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.catalogue import load_catalogue
from spaces.errors import SpecError, TransferSearchError, UnknownNameError
from spaces.recipe import Schedule, Stage
from tests.raising import ends_with
from tests.search_tests.conftest import STUDY
from tests.studies import PLANS, TASK, write_study

CATALOGUE = load_catalogue()
# A target that nothing is trained for.
RETRIEVAL = ("--study", "prompted", "--task", "pocket_retrieval")
COMMON = ("--data", "pocket", "--threads", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Iterator[Path]:
    """A folder with the studies `tiny`, and `prompted` of two targets."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
    targets = ["pocket_topic", "pocket_retrieval"]
    with chdir(folder):
        # LoRA, whose weights must be merged.
        search(encoder, 2, tasks=["pocket_pos"], method="lora", epochs=2, learning_rate=5e-3)
        search(encoder, 1, "prompted", tasks=targets, method="soft-prompt")
        yield folder


def search(encoder: Path, trials: int, name: str = "tiny", **target: object) -> None:
    words = ["--study", "tiny.toml", "--name", name, "--backbone", str(encoder), *COMMON]
    words += ["--precision", "float32", "--quiet", "--trials", str(trials)]
    for key, value in target.items():
        words += ["--set", f"target.{key}={json.dumps(value)}"]
    assert run.main(words) == 0


def run_export(encoder: Path, to: Path, *more: str) -> int:
    words = ["--study", "tiny", "--to", str(to), "--backbone", str(encoder), *COMMON, *more]
    return export.main(words)


class FakeHub:
    """What a push asks of `huggingface_hub.HfApi`."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.asked: list[tuple[object, ...]] = []

    def whoami(self) -> dict[str, str]:
        """Who pushes."""
        self.asked.append(("whoami",))
        return {"name": "me"}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> SimpleNamespace:
        """The repository."""
        self.asked.append(("create_repo", repo_id, private, exist_ok))
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        """What is in it by then."""
        if self.problem is not None:
            raise self.problem
        files = sorted(path.name for path in folder_path.iterdir())
        self.asked.append(("upload_folder", repo_id, files))


@dataclass(frozen=True)
class Exported:
    """A folder, the model that was trained for it, and what the Hub was asked."""

    folder: Path
    model: PreTrainedModel
    hub: FakeHub


@pytest.fixture(scope="module")
def exported(place: Path, encoder: Path) -> Exported:
    """The leader of the search for `pocket_pos`."""
    models, hub, original = [], FakeHub(), TransferObjective.trained_model

    def trained_model(*given: Any) -> tuple[Stage, PreTrainedModel]:
        stage, model = original(*given)
        models.append(model)
        return stage, model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransferObjective, "trained_model", trained_model)
        patch.setattr(huggingface_hub, "HfApi", lambda: hub)
        to = place / "deep" / "exported"
        assert run_export(encoder, to, "--push-to-hub", "me/my-model") == 0
    return Exported(to, models[0], hub)


def error_of(capsys: pytest.CaptureFixture[str], encoder: Path, to: Path, *more: str) -> str:
    """The one line that a command ends with, with exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_export(encoder, to, *more)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_loaded_again_it_says_what_the_trained_model_says(exported: Exported) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported.folder)
    loaded = AutoModelForTokenClassification.from_pretrained(exported.folder).eval()
    assert list(loaded.config.id2label.values()) == list(CATALOGUE["pocket_pos"].tags)
    split = load_split(CATALOGUE["pocket_pos"], "qaa", "validation", DataSource(SourceKind.POCKET))
    text = tokenizer(
        split["tokens"][:8], is_split_into_words=True, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        found, expected = loaded(**text).logits, exported.model.eval()(**text).logits
    assert torch.equal(found, expected)
    assert set(load_file(exported.folder / "model.safetensors")) == set(loaded.state_dict())


def test_scored_again_it_has_the_scores_that_its_card_says(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--checkpoint", str(exported.folder), "--task", "pocket_pos", "--to", str(tmp_path)]
    words += ["--languages", "qaa", "qab", "--split", "validation", "--max-length", "64"]
    assert predict.main([*words, *COMMON, "--precision", "float32"]) == 0
    capsys.readouterr()
    words = ["--task", "pocket_pos", "--predictions", str(tmp_path), "--split", "validation"]
    assert evaluate.main([*words, "--data", "pocket", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["tasks"]["pocket_pos"]["languages"]
    results = ModelCard.load(exported.folder / "README.md").data.eval_results
    assert {x.dataset_config: x.metric_value for x in results} == {
        language: round(scores["score"], 4) for language, scores in found.items()
    }
    assert all(x.metric_value > 0 and x.dataset_split == "validation" for x in results)


def test_the_card_says_what_is_known_and_what_is_not(exported: Exported) -> None:
    card = ModelCard.load(exported.folder / "README.md")
    assert card.data.language == ["qaa", "qab", "qas"]
    assert card.data.pipeline_tag == "token-classification"
    assert "pocket-corpora" in card.data.tags
    assert card.data.license is None
    assert card.data.base_model is None
    text = " ".join(card.text.split())
    assert "**Not confirmed.**" in text
    assert "validation splits of the target languages (at most 1,000 examples a language)" in text
    assert "**Pocket corpora.**" in text
    assert "| pocket_pos | training | Apache-2.0 |" in text
    recipe = json.loads((exported.folder / "recipe.json").read_text())
    for row in recipe["gains"][1:]:
        shown = with_interval(JudgedGain.from_json(row))
        assert f"| {row['score']:.1f} | {row['against']:.1f} | {shown} |" in text
    assert "verdict |" not in text
    assert 'from_pretrained("me/my-model")' in text


def test_what_made_it_is_told_without_the_paths_of_this_machine(
    exported: Exported, place: Path, encoder: Path
) -> None:
    recipe = json.loads((exported.folder / "recipe.json").read_text())
    assert recipe["target"]["method"] == "lora"
    assert recipe["seed"] == 0
    assert recipe["versions"]["torch"] == torch.__version__
    assert recipe["backbone"]["fingerprint"] == load_backbone(str(encoder)).key
    files = {path.name: path for path in exported.folder.iterdir()}
    texts = [files[x].read_text() for x in files if x.endswith((".json", ".md"))]
    for folder in (place, encoder):
        assert not [text for text in texts if str(folder) in text]
    # The command that it gives makes the same weights.
    words = shlex.split(recipe["command"])
    assert words[:3] == ["python", "-m", "search.export"]
    words[words.index("DIR")] = str(place / "again")
    assert export.main([*words[3:], "--backbone", str(encoder), *COMMON]) == 0
    again = load_file(place / "again" / "model.safetensors")
    first = load_file(files["model.safetensors"])
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_it_is_pushed_to_a_private_repository_after_asking_who_pushes(exported: Exported) -> None:
    assert exported.hub.asked == [
        ("whoami",),
        ("create_repo", "me/my-model", True, True),
        ("upload_folder", "me/my-model", sorted(x.name for x in exported.folder.iterdir())),
    ]


def test_what_the_hub_refuses_is_told_in_one_line(
    place: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*RETRIEVAL, "--push-to-hub", "me/my-model")
    to = place / "refused"
    # No test may ask the Hub, so it is offline here; nothing is trained then.
    with ends_with(TransferSearchError, subject="--push-to-hub", found="the Hub refused: "):
        run_export(encoder, to, *more)
    assert not to.exists()
    refused = httpx2.HTTPError("403 Forbidden: no write access\nmore")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: FakeHub(refused))
    upload = f"`hf upload me/my-model {to}` uploads it"
    with ends_with(TransferSearchError, found="403 Forbidden: no write access", advice=upload):
        run_export(encoder, to, *more)
    assert (to / "model.safetensors").is_file()
    # An encoder that retrieves has no head.
    assert AutoModel.from_pretrained(to).config.model_type == "bert"


def test_a_folder_is_made_whole_or_not_at_all(
    place: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_space(model: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exported_model, "model_card", no_space)
    with ends_with(SpecError, subject="--to", found="No space left on device"):
        run_export(encoder, tmp_path / "to", *RETRIEVAL)
    assert not [path for path in tmp_path.iterdir() if "to" in path.name]


@pytest.mark.parametrize(
    ("more", "kind", "fields"),
    [
        (("--study", "prompted"), SpecError, {"subject": "--task", "expected": "pocket_topic, "}),
        (("--task", "pocket_ner"), UnknownNameError, {"subject": "target task"}),
        (("--trial", "99"), UnknownNameError, {"subject": "Trial", "found": "99"}),
        (("--seed", "7"), UnknownNameError, {"subject": "Seed", "found": "7"}),
        (("--push-to-hub", "a/b/c"), SpecError, {"subject": "--push-to-hub", "found": "a/b/c"}),
        (("--to", "tiny.toml"), SpecError, {"subject": "--to", "found": "tiny.toml"}),
        (("--to", "tiny.toml/x"), SpecError, {"subject": "--to", "found": "cannot be written"}),
    ],
)
def test_what_is_wrong_is_named(
    place: Path,
    encoder: Path,
    more: tuple[str, ...],
    kind: type[TransferSearchError],
    fields: dict[str, str],
) -> None:
    with ends_with(kind, **fields):
        run_export(encoder, place / "to", *more)
    assert not (place / "to").exists()


def test_a_soft_prompt_has_no_place_in_a_folder(place: Path, encoder: Path) -> None:
    more = ("--study", "prompted", "--task", "pocket_topic")
    with ends_with(SpecError, expected="full, lora", found="soft-prompt", advice="--trial"):
        run_export(encoder, place / "to", *more)
    assert not (place / "to").exists()


# --- which recipe


@pytest.fixture
def confirmed(place: Path, tmp_path: Path, encoder: Path) -> StoredStudy:
    """A copy of the study whose leader was confirmed with two seeds."""
    url = f"sqlite:///{tmp_path / 'copy.sqlite'}"
    with (
        closing(sqlite3.connect(place / "transfer-search.sqlite")) as old,
        closing(sqlite3.connect(tmp_path / "copy.sqlite")) as new,
    ):
        old.backup(new)
    words = [
        "--study",
        "tiny",
        "--top",
        "1",
        "--max-seeds",
        "2",
        "--anyway",
        "--backbone",
        str(encoder),
        *COMMON,
    ]
    words += ["--storage", url, "--cache", str(place / "transfer-search.cache")]
    assert confirm.main(words) == 0
    return open_stored_study(url, "tiny")


def with_verdicts(results: StoredStudy, verdict: str | None) -> StoredStudy:
    """A further look of the same recipes and seeds, with this verdict on all of them."""
    last = results.confirmations[-1]
    assert last.result is not None
    results.ledger.begin_confirmation(results.name, last.look + 1, last.plan)
    if verdict is not None:
        rows = [{**row, "verdict": verdict} for row in last.result["verdicts"]]
        result = {**last.result, "verdicts": rows}
        results.ledger.keep_confirmation(results.name, last.look + 1, result, is_final=True)
    return results


def test_a_confirmation_decides_which_recipe_is_handed_over(
    confirmed: StoredStudy,
    place: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = confirmed.confirmations[0].plan
    (planned,) = plan["recipes"]
    pairs = confirmed.ledger.pairs("tiny", "test")[planned["trial"]]

    nothing = recommended(with_verdicts(confirmed, "undecided"), "pocket_pos")
    assert nothing.evidence.is_baseline
    assert nothing.evidence.trial == plan["baseline"]["pocket_pos"]
    assert "found no intermediate task that helps (1 judged" in nothing.reason
    assert [x.score for x in nothing.evidence.pairs] == [x.reference for x in pairs]
    storage = ["--storage", confirmed.shown_url]
    storage += ["--cache", str(place / "transfer-search.cache")]
    capsys.readouterr()
    assert run_export(encoder, tmp_path / "baseline", *storage) == 0
    assert "intermediate" not in capsys.readouterr().err.splitlines()[-1]
    recipe = json.loads((tmp_path / "baseline" / "recipe.json").read_text())
    assert recipe["is_direct_training"]
    assert recipe["intermediate"] == []
    assert {language: x["score"] for language, x in recipe["scores"].items()} == {
        x.reference.language: x.reference.score for x in pairs if x.seed == plan["seeds"][0]
    }
    card = ModelCard.load(tmp_path / "baseline" / "README.md")
    assert "It is direct training, which gains are over, so it has none." in card.text
    assert "intermediate-task-training" not in card.data.tags

    helps = recommended(with_verdicts(confirmed, "helps"), "pocket_pos")
    assert not helps.evidence.is_baseline
    assert helps.evidence.trial == planned["trial"]
    assert helps.evidence.seeds == tuple(plan["seeds"])
    assert [x.score for x in helps.evidence.pairs] == [x.score for x in pairs]
    assert run_export(encoder, tmp_path / "to", *storage) == 0
    card = ModelCard.load(tmp_path / "to" / "README.md")
    expected = {
        x.score.language: round(x.score.score, 4) for x in pairs if x.seed == plan["seeds"][0]
    }
    results = card.data.eval_results
    assert {x.dataset_config: x.metric_value for x in results} == expected
    assert {x.dataset_split for x in results} == {"test"}
    assert "Not confirmed" not in card.text
    assert "the study was confirmed 3 times" in card.text
    assert card.text.count("| helps |") == 3

    assert "Of the gain, by the intermediate task itself" in card.text
    seen = [(x.command, x.what) for x in confirmed.ledger.test_reads("tiny")]
    assert [command for command, _ in seen] == ["export", "export"]
    assert seen[1][1].startswith(f"trial {planned['trial']} for pocket_pos, seed ")
    assert "These test splits were also seen once: export on 20" in card.text

    # What is asked for by number has its own verdict, or none.
    others = {x.first.number for x in confirmed.recipes} - {planned["trial"]}
    assert of_trial(confirmed, planned["trial"]).evidence.split == "test"
    assert of_trial(confirmed, others.pop()).evidence.split == "validation"

    with_verdicts(confirmed, None)
    line = error_of(capsys, encoder, tmp_path / "more", *storage)
    assert "expected a confirmation that is finished, found one begun on" in line


def test_what_is_handed_over_is_decided_for_each_target_task(place: Path) -> None:
    study = open_stored_study(f"sqlite:///{place / 'transfer-search.sqlite'}", "prompted")
    assert study.baseline is not None
    for task in ("pocket_topic", "pocket_retrieval"):
        choice, found = recommended(study, task), answer_of(study)
        assert found is not None
        gains = [x.known.gain for x in found.by_task[task].values() if x.known]
        assert choice.evidence.is_baseline == (max(gains) <= 0)
        if choice.evidence.is_baseline:
            assert choice.evidence.trial == study.baseline.tasks[task].trial
            assert "is expected to be better than direct training" in choice.reason
        else:
            assert choice.reason == f"not confirmed: what the search expects most of in {task}"


def test_direct_training_is_handed_over_where_the_search_expects_no_gain(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    general = [x for x in PLANS if x.params["intermediate.domain"] != "legal"]
    legal = [x for x in PLANS if x.params["intermediate.domain"] != "general"]
    ahead = recommended(open_stored_study(url, write_study(url, general)), TASK)
    assert not ahead.evidence.is_baseline
    assert ahead.reason == f"not confirmed: what the search expects most of in {TASK}"
    behind = recommended(open_stored_study(url, write_study(url, legal, name="behind")), TASK)
    assert (behind.evidence.is_baseline, behind.evidence.trial) == (True, 0)
    assert behind.evidence.seeds == (0, 1)
    assert f"better than direct training in {TASK}" in behind.reason


@pytest.mark.parametrize(
    "name",
    [
        *("pocket_ner", "pocket_topic", "pocket_nli", "pocket_similarity"),
        *("pocket_qa", "pocket_retrieval"),
    ],
)
def test_the_example_of_a_card_runs(
    name: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, backbone = CATALOGUE[name], load_backbone(str(encoder))
    model = build_model(backbone, backbone.weights, task, seed=0)
    model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    stage = Stage(name, 0, 0.0, 1, 0, 0.0, 48, Schedule.LINEAR, pooled_layer=1)
    exec(usage_example(task, stage, str(tmp_path)), {})
    shown = capsys.readouterr().out
    if task.tags:
        assert shown.split()[-1] in task.tags
    else:
        assert shown
