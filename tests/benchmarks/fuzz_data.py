"""Broken corpora, predictions and encoders."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import BertModel

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.files import rows_name
from objectives.data.origins import ORIGIN_FILE, read_origin
from objectives.data.row_files import row_lines
from objectives.data.sources import TestPurpose as Purpose
from objectives.data.sources import load_split, load_test_split
from objectives.models.encoders import load_backbone
from objectives.models.fitness import check_fits
from objectives.xtreme.submission import (
    predictions_file,
    read_predictions,
    reading_note,
    write_predictions,
)
from spaces.records import decoded
from tests.benchmarks.fuzz_inputs import broken_text, changed
from tests.benchmarks.fuzz_tally import Silent, Tally, must_be_taken
from tests.objectives_tests.toy_encoders import encoder_parts
from tests.objectives_tests.toys import make_task, toy_columns, write_split

KINDS = ("ner", "pos", "classification", "nli", "similarity", "mlm", "qa", "retrieval")


def _written(kind: str, folder: Path) -> tuple[Any, dict[str, Any], Path, DataSource]:
    """A task of a kind with its columns, the file that they are in, and its source."""
    columns = toy_columns(kind, 12)
    more: dict[str, Any] = {}
    if kind == "retrieval":
        more = {"files": ["retrieval/{language}/{split}.{side}"], "languages": ["eng", "swa"]}
    task = make_task(kind, **more)
    folder = folder / kind
    file = folder / f"{kind}/swa/dev.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "qa":
        rows = zip(*columns.values(), strict=True)
        asked = [
            {
                "context": context,
                "qas": [
                    {
                        "id": name,
                        "question": question,
                        "answers": [
                            {"text": x["text"], "answer_start": x["start"]} for x in answers
                        ],
                    }
                ],
            }
            for name, question, context, answers in rows
        ]
        file.write_text(json.dumps({"data": [{"paragraphs": asked}]}))
    elif kind == "retrieval":
        file = folder / "retrieval/swa/dev.swa"
        half = len(columns["text"]) // 2
        file.write_text("".join(f"{x}\n" for x in columns["text"][:half]))
        file.with_suffix(".eng").write_text("".join(f"{x}\n" for x in columns["text"][half:]))
    else:
        write_split(file, columns)
    return task, columns, file, DataSource(SourceKind.LOCAL, folder)


def fuzz_corpora(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Corpus files of each format; what is taken has as many words as the file has."""
    for kind in KINDS:
        task, _, file, source = _written(kind, folder)
        text = file.read_text()

        def use(task: Any = task, source: DataSource = source, file: Path = file) -> None:
            rows = load_split(task, "swa", "validation", source)
            first = rows[task.kind.columns[0]][:]
            if task.kind.is_tagging:
                lines = decoded(file.read_bytes()).replace("\r\n", "\n").split("\n")
                held = sum(bool(line.strip()) or "\t" in line.strip(" ") for line in lines)
                words = sum(map(len, first))
                if words > held or words < sum(bool(x.strip()) for x in lines):
                    raise Silent(f"{held} lines, {words} words")

        for _ in range(27 * times):
            data = broken_text(text, dice)
            file.write_bytes(data)
            tally.take("corpora", f"{kind}: {data[:200]!r}", use)
        if kind == "qa":
            for _ in range(20 * times):
                data = json.dumps(changed(json.loads(text), dice)).encode()
                file.write_bytes(data)
                tally.take("corpora", f"{kind}: {data[:200]!r}", use)
        file.unlink()
        os.mkfifo(file)
        tally.take("corpora", f"{kind}: a FIFO", use)


def fuzz_rows(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Files of rows, as `search.data get` writes them, and what they say of their origin."""
    for kind in KINDS:
        task, columns = make_task(kind), toy_columns(kind, 12)
        source = DataSource(SourceKind.LOCAL, folder)
        file = folder / rows_name(task, "swa", "validation")
        file.parent.mkdir(parents=True)
        lines = list(row_lines(columns))
        origin = file.with_name(ORIGIN_FILE)

        def use(task: Any = task, source: DataSource = source, file: Path = file) -> None:
            rows = load_split(task, "swa", "validation", source)
            read_origin(file.parent)
            if rows.num_rows != len(decoded(file.read_bytes()).removesuffix("\n").split("\n")):
                raise Silent(f"{rows.num_rows} rows")

        for number in range(15 * times):
            file.write_bytes("".join(lines).encode())
            origin.write_text(json.dumps(changed({"files": [], "place": "hub"}, dice)))
            if number % 3 == 0:
                file.write_bytes(broken_text("".join(lines), dice))
            elif number % 3 == 1:
                at = dice.randrange(len(lines))
                made = json.dumps(changed(json.loads(lines[at]), dice)) + "\n"
                file.write_text("".join([*lines[:at], made, *lines[at + 1 :]]))
            else:
                origin.write_bytes(broken_text(origin.read_text(), dice))
            tally.take("rows", f"{kind}: {file.read_bytes()[:200]!r}", use)


def fuzz_predictions(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Files of predictions; as many are taken as there are examples."""
    for kind in ("ner", "classification", "similarity", "qa", "retrieval"):
        task, _, file, source = _written(kind, folder / "gold")
        file.replace(file.with_name(file.name.replace("dev", "test")))
        if kind == "retrieval":
            file.with_suffix(".eng").replace(file.with_name("test.eng"))
        split = load_test_split(task, "swa", source, Purpose.BENCHMARK)
        gold = list(split[task.kind.columns[-1]][:])
        if kind == "qa":
            gold = [x[0]["text"] for x in gold]
        if kind == "retrieval":
            gold = gold[: len(gold) // 2]
        write_predictions(folder, task, "swa", "test", split, gold)
        made = folder / task.name / predictions_file(task, "swa", "test")
        text = made.read_text()

        def use(task: Any = task, made: Path = made, split: Any = split, gold: Any = gold) -> None:
            found = read_predictions(made, task, split)
            reading_note(made, task)
            if len(found) != len(gold):
                raise Silent(f"{len(found)} predictions of {len(gold)} examples")

        for _ in range(18 * times):
            data = broken_text(text, dice)
            made.write_bytes(data)
            tally.take("predictions", f"{kind}: {data[:200]!r}", use)


# --- encoders


def fuzz_encoders(tally: Tally, dice: random.Random, folder: Path, times: int) -> None:
    """Folders of an encoder whose files are broken, or of different encoders."""
    whole = folder / "whole"
    tokenizer, config = encoder_parts("bert")
    BertModel(config).save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    tasks = [make_task(x) for x in ("ner", "classification", "qa")]
    place = folder / "encoder"

    def use() -> None:
        backbone = load_backbone(str(place))
        check_fits(backbone, tasks, {"target.max_length": 64})

    def must_be_refused() -> None:
        use()
        raise Silent("taken")

    def fresh() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)

    fresh()
    tally.take("encoders", "whole", lambda: must_be_taken(use))
    names = sorted(x.name for x in whole.iterdir())
    for number in range(60 * times):
        fresh()
        name = names[number % len(names)]
        file = place / name
        if name.endswith(".safetensors"):
            data = file.read_bytes()
            size = int.from_bytes(data[:8], "little")
            head, rest = data[: 8 + size].decode("latin-1"), data[8 + size :]
            broken = broken_text(head, dice) if dice.random() < 0.5 else head.encode("latin-1")
            file.write_bytes(broken + rest[: dice.choice((None, 0, len(rest) // 2))])
        elif dice.random() < 0.6:
            file.write_text(json.dumps(changed(json.loads(file.read_text()), dice)))
        else:
            file.write_bytes(broken_text(file.read_text(), dice))
        tally.take("encoders", name, use)
    for field_name, value in (
        *(("num_hidden_layers", x) for x in (10**6, 3, 10**400, "two", None, -1, 1.5)),
        *(("hidden_size", x) for x in (10**9, 0, -1, 33)),
        *(("vocab_size", x) for x in (10**12, 1, 5)),
        *(("max_position_embeddings", x) for x in (10**12, 63, 0)),
        *(("num_attention_heads", x) for x in (0, 7, 10**9)),
        *(("type_vocab_size", 10**10), ("model_type", "t5"), ("model_type", "x")),
    ):
        fresh()
        changed_config = {**json.loads((place / "config.json").read_text()), field_name: value}
        (place / "config.json").write_text(json.dumps(changed_config))
        is_less = field_name == "num_hidden_layers" and value == 1
        tally.take("encoders", f"{field_name} {value!r:.40}", use if is_less else must_be_refused)
    weights = load_file(whole / "model.safetensors")
    for key in (sorted(weights)[0], sorted(weights)[-1], "encoder.layer.1.output.dense.weight"):
        for value in (float("nan"), float("inf")):
            fresh()
            spoilt = {x: w.clone() for x, w in weights.items()}
            spoilt[key].view(-1)[0] = value
            save_file(spoilt, place / "model.safetensors", metadata={"format": "pt"})
            tally.take("encoders", f"{value} in {key}", must_be_refused)
    fresh()
    tokenizer.add_tokens(["asha2", "lamu2"])
    tokenizer.save_pretrained(place)
    tally.take("encoders", "a tokenizer that is larger", must_be_refused)
