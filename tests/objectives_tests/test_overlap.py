"""Leakage: what counts as the same example, how it is counted, and what a study compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.overlap import (
    InputHashes,
    Overlap,
    describe_overlap,
    find_overlap,
    hash_inputs,
    study_overlaps,
)
from objectives.data.study_corpora import StudyCorpora
from spaces.catalogue import Catalogue
from spaces.errors import DataError
from spaces.studies import SplitName, StudySpec
from spaces.task import TaskKind
from tests.objectives_tests.toys import make_task, write_split
from tests.raising import raises

TRAIN: SplitName = ("a", "eng", "train")
TEST: SplitName = ("b", "swa", "test")


def hashed(kind: str, columns: dict[str, list[Any]]) -> InputHashes:
    return hash_inputs(datasets.Dataset.from_dict(columns), TaskKind(kind))


def compare(
    train: tuple[str, dict[str, list[Any]]], test: tuple[str, dict[str, list[Any]]]
) -> Overlap:
    (found,) = find_overlap({TRAIN: hashed(*train)}, {TEST: hashed(*test)})
    return found


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Habari ya leo.", "habari, ya LEO", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("\uff21\uff22\uff23 \u2460", "abc 1", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("a \u201cb\u201d \u2013 c", 'a "b" - c', True),
        ("zero\u200bwidth\u00a0space", "zerowidth space", True),
        ("can't", "ca n't", True),
        # Two syllables that differ in their vowel signs only.
        ("\u0915\u093f", "\u0915\u0940", False),
        ("1 + 1", "1 - 1", False),
        ("habari", "habari leo", False),
        ("!?", "...", False),
    ],
)
def test_texts_are_compared_normalised(one: str, other: str, same: bool) -> None:
    found = compare(("mlm", {"text": [one]}), ("mlm", {"text": [other]}))
    assert (found.examples, found.texts) == (int(same), int(same))


def questions(*rows: tuple[str, str]) -> dict[str, list[Any]]:
    asked, contexts = zip(*rows, strict=True)
    ids = [str(number) for number in range(len(rows))]
    answers: list[Any] = [[]] * len(rows)
    return {"id": ids, "question": [*asked], "context": [*contexts], "answers": answers}


SENTENCES = {
    "id": ["0", "0"],
    "text": ["Habari.", "News."],
    "side": ["language", "english"],
    "match": ["0", ""],
}
PAIRS = {"text_a": ["A.", "D", "a", "x"], "text_b": ["b", "C", "d", "y"], "label": [""] * 4}


@pytest.mark.parametrize(
    ("train", "test", "examples", "texts"),
    [
        pytest.param(
            ("classification", {"text": ["Asha, anaenda Lagos."], "label": ["x"]}),
            (
                "ner",
                {"tokens": [["Asha", ",", "anaenda", "Lagos", "."], ["a"]], "tags": [None, None]},
            ),
            *((1, 2), (1, 2)),
            id="tokens are compared as a sentence",
        ),
        pytest.param(
            ("mlm", {"text": ["a", "b"]}),
            ("mlm", {"text": ["a", "a", "c", "a", "d"]}),
            *((3, 5), (1, 3)),
            id="every copy in the evaluation split counts",
        ),
        pytest.param(
            ("similarity", {"text_a": [*"ace"], "text_b": [*"bdf"], "score": [0.0, 0.0, 0.0]}),
            *(("nli", PAIRS), (2, 4), (4, 6)),
            id="pairs are compared as pairs and as texts",
        ),
        pytest.param(
            ("qa", questions(("who?", "one"), ("where?", "one"), ("who?", "two"))),
            (
                "qa",
                questions(("Who", "One."), ("when?", "one"), ("who?", "three"), ("where", "two")),
            ),
            *((1, 4), (2, 3)),
            id="questions with and without their context",
        ),
        pytest.param(
            ("retrieval", SENTENCES),
            *(("retrieval", SENTENCES), (2, 2), (2, 2)),
            id="sentences to retrieve",
        ),
        pytest.param(
            ("pair_classification", {"text_a": ["news"], "text_b": ["old"], "label": ["x"]}),
            *(("retrieval", SENTENCES), (0, 2), (1, 2)),
            id="sentences to retrieve with any text",
        ),
    ],
)
def test_inputs_are_compared_whole_and_by_their_texts(
    train: tuple[str, dict[str, list[Any]]],
    test: tuple[str, dict[str, list[Any]]],
    examples: tuple[int, int],
    texts: tuple[int, int],
) -> None:
    found = compare(train, test)
    assert (found.examples, found.size) == examples
    assert (found.texts, found.all_texts) == texts
    assert found.share == examples[0] / examples[1]
    assert found.text_share == pytest.approx(texts[0] / texts[1])


def test_the_largest_share_comes_first() -> None:
    training = {
        ("t1", "eng", "train"): hashed("mlm", {"text": ["a"]}),
        ("t2", "eng", "train"): hashed("mlm", {"text": ["a", "b"]}),
    }
    evaluation = {
        ("e1", "swa", "test"): hashed("mlm", {"text": ["a", "b", "c"]}),
        ("e2", "swa", "test"): hashed("mlm", {"text": ["x"]}),
    }
    found = find_overlap(training, evaluation)
    assert [(x.training[0], x.evaluation[0], x.examples) for x in found] == [
        ("t2", "e1", 2),
        ("t1", "e1", 1),
        ("t1", "e2", 0),
        ("t2", "e2", 0),
    ]


def test_an_overlap_is_described_in_one_line() -> None:
    names = (("wikigold", "eng", "train"), ("panx", "eng", "test"))
    assert describe_overlap(Overlap(*names, 12, 2000, 11, 1990)) == (
        "wikigold eng train and panx eng test share 12 of 2000 inputs (0.6 %)"
    )
    assert describe_overlap(Overlap(*names, 0, 2000, 10, 4000)) == (
        "wikigold eng train and panx eng test share 0 of 2000 inputs (0.0 %) and 10 of 4000 texts "
        "(0.2 %)"
    )
    assert describe_overlap(Overlap(("", "", ""), names[1], problem="no such file")) == (
        "panx eng test was compared with no training split: no such file"
    )


# --- a study


@pytest.fixture
def study() -> StudySpec:
    stage = {"epochs": 1, "learning_rate": 1e-4}
    return StudySpec.model_validate(
        {
            "name": "tiny",
            "question": "?",
            "arms": ["none", "general"],
            "backbone": "x",
            "intermediate": {"tasks": ["texts"], **stage},
            "target": {"tasks": ["topics"], "languages": ["swa"], **stage},
        }
    )


@pytest.fixture
def catalogue() -> Catalogue:
    tasks = (
        make_task("mlm", name="texts", files=["texts/{split}.txt"]),
        make_task("classification", name="topics", files=["topics/{language}/{split}.txt"]),
    )
    return Catalogue({task.name: task for task in tasks})


def test_a_study_compares_what_it_trains_on_with_what_its_targets_are_scored_on(
    study: StudySpec, catalogue: Catalogue, tmp_path: Path
) -> None:
    source = DataSource(SourceKind.LOCAL, tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/train.txt").write_text("Seen in swahili\nIn english too\nAnd this\n")
    for place, texts in {
        "eng/train": ["a", "Seen in English validation"],
        "eng/dev": ["seen in english validation.", "b", "c", "d"],
        "swa/dev": ["e", "f"],
        "swa/test": ["seen IN Swahili!", "g", "h", "i", "in English, too"],
        "yor/test": ["Seen in Swahili", "of no interest"],
    }.items():
        columns = {"text": texts, "label": ["law"] * len(texts)}
        write_split(tmp_path / f"topics/{place}.txt", columns)
    found = study_overlaps(StudyCorpora(study, catalogue, source))
    assert len(found) == 2 * 3 + 1
    assert [describe_overlap(x) for x in found if x.examples] == [
        "texts eng train and topics swa test share 2 of 5 inputs (40.0 %)",
        "topics eng train and topics eng validation share 1 of 4 inputs (25.0 %)",
    ]
    assert describe_overlap(found[-1]).startswith(
        f"topics eng test was compared with no training split: {tmp_path}: expected the eng test"
    )
    corpora = StudyCorpora(study, catalogue, source)
    sizes = corpora.train_sizes()
    (tmp_path / "texts/train.txt").unlink()
    assert study_overlaps(corpora) == found, f"read again, after {sizes}"
    with raises(DataError, expected="the eng train split of task 'texts'"):
        study_overlaps(StudyCorpora(study, catalogue, source))
