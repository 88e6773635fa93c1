"""Generated files of XTREME's nine tasks with the figures of XTREME's own evaluate.py.

    python -m tests.benchmarks.xtreme_sample --xtreme DIR

DIR is a checkout of https://github.com/google-research/xtreme (at 838c13b; the project ships
nothing of it). Labels and predictions are drawn for all languages of each task, in no words of any
corpus; `tests/objectives_tests/xtreme_sample.json.gz` holds them with what evaluate.py says of
them, in percent, for `tests/objectives_tests/test_xtreme_parity.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from objectives.xtreme.submission import predictions_file
from spaces.catalogue import load_catalogue
from spaces.languages import XTREME_TASKS
from spaces.task import Task
from tests.benchmarks.as_command import run_as_command

SAMPLE = Path(__file__).parents[1] / "objectives_tests" / "xtreme_sample.json.gz"
EXAMPLES = 12
ALPHABETS = {
    "ar": "ابتجدرسكلمن",
    "hi": "अइकगचजतनपमरल",
    "zh": "一二三山水火人口日月",
    "ru": "абвгдежзиклмно",
    "el": "αβγδεζικλμνο",
    "th": "กขคงจชดตนปมร",
    "ko": "가나다라마바사아",
    "bn": "অকগচজতনপমর",
    "te": "అకగచజతనపమర",
}
ARTICLES = {
    "en": ["the", "a", "an", "The"],
    "es": ["el", "una", "los"],
    "de": ["der", "ein", "des", "Eine"],
    "vi": ["của", "những", "là"],
    "ar": ["ال"],
}
MARKS = [".", ",", "!", "(", ")", "-", "'", '"', "،", "。", "।", "%", "€"]


def main() -> None:
    """Write the sample."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--xtreme", required=True, type=Path, metavar="DIR")
    chosen = options.parse_args()
    catalogue = load_catalogue()
    sample: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, languages in XTREME_TASKS.items():
            for language in languages:
                file = predictions_file(catalogue[task], language, "test")
                draw = random.Random(f"{task} {file}")
                texts = MAKERS[task](draw, catalogue[task], Path(file).stem.partition("-")[2])
                kept = dict(zip(("labels", "predictions"), texts, strict=True))
                sample.setdefault(task, {})[language] = kept
                for side, text in kept.items():
                    place = folder / side / task / file
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text(text, encoding="utf-8")
        figures = _figures(folder, chosen.xtreme)
    content = json.dumps({"figures": figures, "files": sample}, ensure_ascii=False)
    # Without a time in it, so that the same content is the same file.
    SAMPLE.write_bytes(gzip.compress(content.encode(), mtime=0))
    count = sum(len(languages) for languages in sample.values())
    print(f"{SAMPLE.name}: {count} files of {len(sample)} tasks, {SAMPLE.stat().st_size} bytes")


def _figures(folder: Path, xtreme: Path) -> dict[str, Any]:
    """What XTREME's own script says of the files, in percent."""
    report = folder / "figures.json"
    command = [sys.executable, "evaluate.py", "--output_file", str(report)]
    for option, side in (("--prediction_folder", "predictions"), ("--label_folder", "labels")):
        command += [option, str(folder / side)]
    subprocess.run(command, cwd=xtreme, check=True, stdout=subprocess.DEVNULL)
    figures: dict[str, Any] = json.loads(report.read_text())
    return figures


Made = tuple[str, str]
"""Labels and predictions, as files have them."""


def _tags(draw: random.Random, task: Task, language: str) -> Made:
    gold = [draw.choices(task.tags, k=draw.randint(1, 6)) for _ in range(EXAMPLES)]
    gold[0] = ["B-PER", "I-PER", "O", "B-LOC"] if "B-PER" in task.tags else ["NOUN", "NOUN"]
    found = [[_guess(draw, tag, task.tags) for tag in tags] for tags in gold]
    found[0] = gold[0]
    ending = draw.choice(["\n\n", "\n", ""])  # the last sentence need not be ended
    sides = ["\n\n".join("\n".join(tags) for tags in side) + ending for side in (gold, found)]
    return sides[0], sides[1]


def _classes(draw: random.Random, task: Task, language: str) -> Made:
    gold = draw.choices(task.labels, k=EXAMPLES)
    found = [_guess(draw, label, task.labels) for label in gold]
    return _lined(gold), _lined(found)


def _pairs(draw: random.Random, task: Task, language: str) -> Made:
    gold = [f"{language}-{number:06d}\ten-{number:06d}" for number in range(EXAMPLES)]
    found = [
        pair if draw.random() < 0.6 else f"{language}-{draw.randrange(99):06d}\ten-{place:06d}"
        for place, pair in enumerate(gold)
    ]
    return _lined(gold), _lined([*found, found[0]])  # a pair found twice counts once


def _neighbours(draw: random.Random, task: Task, language: str) -> Made:
    gold = draw.sample(range(EXAMPLES), EXAMPLES)
    found = [_guess(draw, number, range(EXAMPLES)) for number in gold]
    return _lined(gold), _lined(found)


def _questions(draw: random.Random, task: Task, language: str) -> Made:
    questions, found = [], {}
    for number in range(EXAMPLES):
        answers = [_answer(draw, language) for _ in range(draw.randint(1, 3))]
        name = f"{language}-{number}"
        questions.append(
            {
                "id": name,
                "question": "?",
                "answers": [{"text": x, "answer_start": 0} for x in answers],
            }
        )
        found[name] = _changed(draw, draw.choice(answers), language)
    data = [{"title": "", "paragraphs": [{"context": "", "qas": questions}]}]
    labels = {"version": "1.1", "data": data}
    return json.dumps(labels, ensure_ascii=False), json.dumps(found, ensure_ascii=False)


def _answer(draw: random.Random, language: str) -> str:
    """Invented words, with articles and marks that are normalised away."""
    letters = ALPHABETS.get(language, "aeioubdgklmnprst")
    words = ["".join(draw.choices(letters, k=draw.randint(1, 5))) for _ in range(3)]
    words = words[: draw.randint(1, 3)]
    if draw.random() < 0.5:
        words.insert(0, draw.choice(ARTICLES.get(language, ARTICLES["en"])))
    if draw.random() < 0.5:
        words[-1] += draw.choice(MARKS)
    if draw.random() < 0.3:
        words[0] = words[0].capitalize()
    return draw.choice(["", " "]).join(words) if language == "zh" else " ".join(words)


def _changed(draw: random.Random, answer: str, language: str) -> str:
    """What a model might say instead: the same, more, less, other words, or nothing."""
    words = answer.split()
    return draw.choice(
        [
            answer,
            answer.upper(),
            " ".join(words[1:]),
            f"{answer} {_answer(draw, language)}",
            f" {draw.choice(MARKS)}{answer}  ",
            _answer(draw, language),
            "",
        ]
    )


def _guess(draw: random.Random, right: Any, all_labels: Sequence[Any]) -> Any:
    return right if draw.random() < 0.6 else draw.choice(all_labels)


def _lined(values: Sequence[object]) -> str:
    return "".join(f"{value}\n" for value in values)


MAKERS: dict[str, Callable[[random.Random, Task, str], Made]] = {
    "xnli": _classes,
    "pawsx": _classes,
    "udpos": _tags,
    "panx": _tags,
    "xquad": _questions,
    "mlqa": _questions,
    "tydiqa": _questions,
    "bucc2018": _pairs,
    "tatoeba": _neighbours,
}

if __name__ == "__main__":
    run_as_command(main)
