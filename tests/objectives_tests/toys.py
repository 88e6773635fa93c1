"""Toy tasks, data and stages, a toy study, and what its trials tell."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import torch

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit, encode
from objectives.hardware import Hardware
from objectives.models.encoders import ENCODER_FILE
from objectives.runner import OnBatch, Runner, ignore_batches
from objectives.transfer import TransferObjective
from spaces.recipe import Recipe, Route, Schedule, Similarity, Stage
from storage.tables import PairedScore, StageRun
from tests.objectives_tests.toy_encoders import NOUNS, PEOPLE, PLACES, VERBS
from tests.objectives_tests.toy_tasks import LABELS, METRICS, make_task

CPU = Hardware(torch.device("cpu"), "float32")
RETRIEVAL_STAGE = Stage(
    task="sentences",
    epochs=0,
    learning_rate=0.0,
    batch_size=1,
    examples=0,
    warmup_ratio=0.0,
    max_length=64,
    schedule=Schedule.LINEAR,
    pooled_layer=-1,
    similarity=Similarity.COSINE,
)


# --- tasks and data


def _sentence(draw: random.Random) -> list[tuple[str, str]]:
    """Words and their parts of speech."""
    words = [(draw.choice(PEOPLE), "PROPN")]
    for _ in range(draw.randint(1, 2)):
        words += [(draw.choice(VERBS), "VERB"), (draw.choice(NOUNS), "NOUN")]
    return [*words, (draw.choice(PLACES), "PROPN")]


def _questions(draw: random.Random, examples: int) -> dict[str, list[Any]]:
    """Where is she? The only place in a text of several windows."""
    columns: dict[str, list[Any]] = {"id": [], "question": [], "context": [], "answers": []}
    for number in range(examples):
        place = draw.choice(PLACES)
        sentences = [f"{draw.choice(PEOPLE)} {draw.choice(VERBS)}" for _ in range(5)]
        sentences.insert(draw.randrange(6), place)
        context = " ".join(sentences)
        answer = {"text": place, "start": context.index(place)}
        row = (f"q{number}", "wapi juma", context, [answer])
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    return columns


def toy_columns(kind: str, examples: int, seed: int = 0) -> dict[str, list[Any]]:
    """The columns of a split of a kind."""
    draw = random.Random(seed)
    sentences = [_sentence(draw) for _ in range(examples)]
    tokens = [[word for word, _ in sentence] for sentence in sentences]
    texts = [" ".join(words) for words in tokens]
    if kind == "ner":
        types = dict.fromkeys(PEOPLE, "B-PER") | dict.fromkeys(PLACES, "B-LOC")
        return {"tokens": tokens, "tags": [[types.get(w, "O") for w in x] for x in tokens]}
    if kind == "pos":
        return {"tokens": tokens, "tags": [[tag for _, tag in x] for x in sentences]}
    if kind == "similarity":
        scores = [draw.uniform(0, 5) for _ in texts]
        return {"text_a": texts, "text_b": texts[::-1], "score": scores}
    if kind == "mlm":
        return {"text": texts}
    if kind == "qa":
        return _questions(draw, examples)
    if kind == "retrieval":
        ids = [f"{number}" for number in range(examples)]
        turned = [" ".join(words[::-1]) for words in tokens]
        sides = ["language"] * examples + ["english"] * examples
        return {
            "id": [*(f"x{name}" for name in ids), *(f"e{name}" for name in ids)],
            "text": [*texts, *turned],
            "side": sides,
            "match": [*(f"e{name}" for name in ids), *[""] * examples],
        }
    labels = LABELS[kind]
    if kind in {"nli", "pair_classification"}:
        classes = [labels[number % len(labels)] for number in range(examples)]
        return {"text_a": texts, "text_b": texts[::-1], "label": classes}
    return {"text": texts, "label": [labels[len(x) % len(labels)] for x in tokens]}


def toy_split(
    kind: str, examples: int, backbone: Backbone, max_length: int = 64, seed: int = 0
) -> EncodedSplit:
    """Toy examples of a kind as an encoder reads them."""
    rows = datasets.Dataset.from_dict(toy_columns(kind, examples, seed))
    return encode(rows, make_task(kind), backbone.tokenizer, max_length)


def runner_for(backbone: Backbone, on_batch: OnBatch = ignore_batches) -> Runner:
    """Runs an encoder on the CPU."""
    return Runner(CPU, Padding.of(backbone.tokenizer), on_batch)


def hub_card(*splits: str) -> str:
    """The card of a repository of the Hub whose configuration PAN-X.sw has these splits."""
    files = "".join(f"  - {{split: {x}, path: {x}.parquet}}\n" for x in splits)
    return f"---\nconfigs:\n- config_name: PAN-X.sw\n  data_files:\n{files}---\n"


def write_split(file: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns as a corpus file: token TAB tag, a text a line, or a table with a header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if "tags" in columns:
        blocks = [
            "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
            for tokens, tags in zip(columns["tokens"], columns["tags"], strict=True)
        ]
        file.write_text("\n".join(blocks), encoding="utf-8")
        return
    if list(columns) == ["text"]:
        file.write_text("".join(f"{text}\n" for text in columns["text"]), encoding="utf-8")
        return
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    lines = ["\t".join(map(str, row)) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")


def make_stage(task: str = "toy_ner", **changes: Any) -> Stage:
    """A short stage, with changes."""
    fields: dict[str, Any] = {
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "examples": 8,
        "warmup_ratio": 0.1,
        "max_length": 64,
        "schedule": Schedule.LINEAR,
    }
    return Stage(task, **fields | changes)


# --- a study


def toy_record(name: str, kind: str, domain: str, languages: str, **more: Any) -> str:
    """A task of the toy study, as a line of TOML."""
    fields = {
        "kind": kind,
        "domain": domain,
        "role": "target" if domain == "general" else "intermediate",
        "title": name,
        "languages": languages.split(),
        "licence": "none",
        "urls.data": "https://example.org",
        "urls.licence": "https://example.org",
        "metric": METRICS.get(kind, "accuracy"),
        "labels": LABELS.get(kind),
        "files": [f"{name}/{{language}}/{{split}}.{ENDINGS[kind]}"],
    }
    known = {key: json.dumps(value) for key, value in (fields | more).items() if value}
    return f"tasks.{name} = {{{', '.join(f'{key} = {value}' for key, value in known.items())}}}"


ENDINGS = {
    "ner": "conll",
    "classification": "tsv",
    "mlm": "txt",
    "retrieval": "{side}",
    "qa": "json",
}
STUDY = """
question = "Does a toy help?"
arms = ["none", "legal"]
backbone = "set by the test"
intermediate = {tasks = ["deeds"], epochs = 1, learning_rate = 1e-3}
target = {tasks = ["names", "news"], languages = ["swa", "yor"], epochs = 1, learning_rate = 1e-3}
""" + "\n".join(
    [
        toy_record("names", "ner", "general", "eng swa yor"),
        toy_record("deeds", "ner", "legal", "eng"),
        toy_record("news", "classification", "general", "eng swa", unscored_labels=["religion"]),
        toy_record("acts", "classification", "legal", "eng"),
        toy_record("rulings", "mlm", "legal", "eng"),
        toy_record("sentences", "retrieval", "general", "swa yor"),
    ]
)
EXAMPLES = 12


@dataclass
class Outcome:
    """What a run found, and the stages that it told of."""

    stage_runs: list[StageRun] = field(default_factory=list)
    pairs: tuple[PairedScore, ...] = ()


def run(objective: TransferObjective, recipe: Recipe, seed: int = 0) -> Outcome:
    """Run a recipe with a seed."""
    outcome = Outcome()
    outcome.pairs = objective(recipe, seed, outcome.stage_runs.append)
    return outcome


def trained(outcome: Outcome) -> list[tuple[str, str]]:
    """Position and task of the stages that were not found, as they were finished."""
    return [(run.position, run.task) for run in outcome.stage_runs if run.updates_trained]


def with_row(recipe: Recipe, *row: Stage) -> Recipe:
    """The recipe with other intermediate stages before each target; without any, the arm none."""
    name = row[0].task if row else ""
    routes = tuple(replace(route, intermediate=row) for route in recipe.routes)
    return replace(recipe, intermediate=name, routes=routes)


def with_targets(recipe: Recipe, *targets: Stage) -> Recipe:
    """The recipe with other targets, each after the same intermediate stages."""
    row = recipe.routes[0].intermediate
    return replace(recipe, routes=tuple(Route(row, target) for target in targets))


def encoders(objective: TransferObjective) -> dict[int, bytes]:
    """Epochs -> the encoder's file, of all checkpoints in the cache."""
    found = {}
    for entry in objective.cache.entries():
        checkpoint = objective.cache.find(entry.inputs)
        assert checkpoint is not None
        content = (checkpoint.folder / ENCODER_FILE).read_bytes()
        found[entry.inputs["stage"]["epochs"]] = content
    return found
