"""XTREME's submission format, the scores of what it holds, and the benchmark's means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from objectives.data.data_source import DataSource, SourceKind
from objectives.xtreme.benchmark import (
    GROUPS,
    TaskScores,
    benchmark_split,
    group_means,
    overall_mean,
    score_predictions,
)
from objectives.xtreme.submission import (
    file_language,
    find_predictions,
    predictions_file,
    read_predictions,
    reading_note,
    write_predictions,
)
from spaces.catalogue import load_catalogue
from spaces.errors import DataError, SpecError, UnknownNameError
from spaces.languages import XTREME_TASKS
from spaces.task import Task
from tests.objectives_tests.toys import make_task
from tests.raising import raises

CATALOGUE = load_catalogue()
POCKET = DataSource(SourceKind.POCKET, reason="a test")
ENGLISH = ("Zebras.", "Ants.", "Mice.")

Case = tuple[str, dict[str, list[Any]], list[Any], str, float]

# Task of the catalogue, its examples, predictions for them, the file and the score.
CASES: dict[str, Case] = {
    "tagging": (
        "panx",
        {
            "tokens": [["Juma", "Ali", "anaenda", "Lagos"], ["Mimi", "hapa"]],
            "tags": [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"]],
        },
        [["B-PER", "I-PER", "O", "B-ORG"], ["O", "O"]],
        "B-PER\nI-PER\nO\nB-ORG\n\nO\nO\n\n",
        1 / 2,
    ),
    "classification": (
        "xnli",
        {"text_a": ["a"] * 3, "text_b": ["b"] * 3, "label": ["neutral", "neutral", "entailment"]},
        ["neutral", "contradiction", "entailment"],
        "neutral\ncontradiction\nentailment\n",
        2 / 3,
    ),
    "similarity": (
        "semrel2024",
        {"text_a": ["a"] * 3, "text_b": ["b"] * 3, "score": [0.1, 0.5, 0.9]},
        [-1.5, 0.1 + 0.2, 7.0],
        "-1.5\n0.30000000000000004\n7.0\n",
        1.0,
    ),
    "questions": (
        "tydiqa",
        {
            "id": ["q-2", "q-1"],
            "question": ["Wapi?", "Lini?"],
            "context": ["Ni Ziwa Tanganyika kubwa.", "Ni 1999."],
            "answers": [[{"text": "Ziwa Tanganyika", "start": 3}], [{"text": "1999", "start": 3}]],
        },
        ["Ziwa", "1999"],
        '{\n "q-2": "Ziwa",\n "q-1": "1999"\n}\n',
        (1 / 2 + (2 / 3 + 1) / 2) / 2,
    ),
    "mining": (
        "bucc2018",
        {
            "id": ["de-1", "de-2", "en-1", "en-2"],
            "text": ["Eins.", "Zwei.", "One.", "Two."],
            "side": ["language", "language", "english", "english"],
            "match": ["en-1", "en-2", "", ""],
        },
        [("de-1", "en-1"), ("de-2", "en-1")],
        "de-1\ten-1\nde-2\ten-1\n",
        1 / 2,
    ),
    # Their English sides in order: Ants (swa-c), Mice (swa-a), Zebras (swa-b).
    "retrieval": (
        "tatoeba",
        {
            "id": ["swa-a", "swa-b", "swa-c", "0", "1", "2"],
            "text": ["Panya.", "Punda milia.", "Sisimizi.", *ENGLISH],
            "side": ["language"] * 3 + ["english"] * 3,
            "match": ["2", "0", "1", "", "", ""],
        },
        ["swa-b", "swa-b", "swa-a"],
        "1\n0\n1\n",
        2 / 3,
    ),
}
LANGUAGES = {"bucc2018": "deu", "semrel2024": "hau"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Task, str, datasets.Dataset, list[Any], str]:
    """A task, a language, examples, predictions and the file that they make."""
    name, columns, predictions, text, _ = CASES[request.param]
    return (
        CATALOGUE[name],
        LANGUAGES.get(name, "swa"),
        datasets.Dataset.from_dict(columns),
        predictions,
        text,
    )


def split_of(case: str) -> tuple[Task, datasets.Dataset]:
    name, columns, *_ = CASES[case]
    return CATALOGUE[name], datasets.Dataset.from_dict(columns)


# --- the format


def test_predictions_are_written_as_xtreme_wants_them_and_read_back(
    tmp_path: Path, case: tuple[Task, str, datasets.Dataset, list[Any], str]
) -> None:
    task, language, split, predictions, text = case
    file = write_predictions(tmp_path, task, language, "test", split, predictions)
    assert file.parent == tmp_path / task.name
    assert file.read_text(encoding="utf-8") == text
    assert read_predictions(file, task, split) == predictions
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_files_are_named_by_two_letters_where_the_corpus_has_them(tmp_path: Path) -> None:
    panx, african = CATALOGUE["panx"], CATALOGUE["masakhaner2"]
    assert predictions_file(panx, "swa", "test") == "test-sw.tsv"
    assert predictions_file(CATALOGUE["mlqa"], "zho", "test") == "test-zh.json"
    codes = {
        predictions_file(CATALOGUE[task], language, "test").partition(".")[0]
        for task, languages in XTREME_TASKS.items()
        for language in languages
    }
    assert ({len(name) for name in codes}, len(codes)) == ({len("test-sw")}, 40)
    assert predictions_file(african, "bam", "validation") == "validation-bam.tsv"
    assert file_language(panx, Path("test-yo.tsv")) == "yor"
    assert file_language(african, Path("validation-bam.tsv")) == "bam"
    with raises(DataError, subject="test-xx.tsv", expected="a name as in test-en.tsv"):
        file_language(panx, Path("test-xx.tsv"))
    for name in ("test-sw.tsv", "test-yo.tsv", "validation-en.tsv", "notes.txt"):
        (tmp_path / name).touch()
    assert [*find_predictions(tmp_path, panx, "test")] == ["swa", "yor"]


def test_what_other_programs_write_is_read_too(tmp_path: Path) -> None:
    task, split = split_of("tagging")
    file = tmp_path / "test-sw.tsv"
    # As XTREME's own: no blank line in the end; and as Windows has it, with a byte order mark.
    file.write_bytes("\ufeffB-PER\r\nI-PER\r\nO\r\nB-LOC\r\n\r\nO\r\nO".encode())
    assert read_predictions(file, task, split) == split["tags"][:]


@pytest.mark.parametrize(
    ("case", "text", "subject", "expected", "found", "advice"),
    [
        ("tagging", "O\nO\nO\nO\n\n", "test", "2 sentences", "1", ""),
        ("tagging", "O\nO\nO\n\nO\nO\n", "test:1", "4 tags for this sentence", "3", ""),
        ("tagging", "O\nO\nO\nO\n\nO\n\n", "test:6", "2 tags for this sentence", "1", ""),
        ("tagging", "O\nB-DATE\n", "test:2", "a tag of panx (O, B-PER", "'B-DATE'", ""),
        ("classification", "neutral\n", "test", "3 predictions", "1", ""),
        ("classification", "", "test", "3 predictions", "0", ""),
        ("classification", "neutral\n1\nneutral\n", "test:2", "a label of xnli", "'1'", ""),
        ("similarity", "1\n2\nnan\n", "test:3", "a number", "'nan'", ""),
        ("questions", "{", "test:1", "JSON", "", ""),
        ("questions", '["1999"]', "", "a JSON object of question id: answer", "", ""),
        ("questions", '{"q-1": 1999}', "", "a JSON object of question id: answer", "", ""),
        ("questions", '{"q-1": "1999"}', "", "2 questions", "1 answers, 1 ", "no answer to 'q-2'"),
        ("questions", '{"q-1": "", "q-2": "", "q-3": ""}', "", "", "3 answers, 2 ", "'q-3' too"),
        ("mining", "de-1\ten-1\nde-1\tde-2\n", "test:2", "the id of a sentence TAB", "", ""),
        ("retrieval", "0\n1\n", "test", "3 sentence numbers", "2", ""),
        ("retrieval", "[0]\n[2]\n[1]\n", "test:1", "the number", "'[0]'", "take the brackets off"),
        ("retrieval", "0\n3\n1\n", "test:2", "the number of a sentence, 0 to 2", "'3'", ""),
    ],
)
def test_a_broken_file_is_told_with_its_place(
    tmp_path: Path, case: str, text: str, subject: str, expected: str, found: str, advice: str
) -> None:
    task, split = split_of(case)
    file = tmp_path / "test"
    file.write_text(text, encoding="utf-8")
    with raises(DataError, subject=subject, expected=expected, found=found, advice=advice):
        read_predictions(file, task, split)


@pytest.mark.parametrize(
    ("case", "text", "said"),
    [
        ("mining", "de-1\ten-1\nde-2\ten-2\n", ""),
        ("mining", "de-1\ten-1\n\nde-2\ten-2\n", "has blank lines:"),
        ("mining", "\ufeffde-1\ten-1\nde-2 \ten-2\n", "a byte order mark and spaces around ids:"),
        ("classification", "\ufeffneutral\nneutral\nneutral\n", "has a byte order mark:"),
        ("classification", "neutral\nneutral \nneutral\n", ""),
    ],
)
def test_what_xtreme_reads_otherwise_is_noted(
    tmp_path: Path, case: str, text: str, said: str
) -> None:
    task, split = split_of(case)
    file = tmp_path / "test"
    file.write_text(text, encoding="utf-8")
    assert len(read_predictions(file, task, split)) == len(split) // (1 + (case == "mining"))
    note = reading_note(file, task)
    assert said in note
    assert bool(note) is bool(said)


def test_a_file_in_powershell_s_encoding_is_read_and_noted(tmp_path: Path) -> None:
    task, split = split_of("classification")
    file = tmp_path / "test"
    file.write_text("neutral\nneutral\nneutral\n", encoding="utf-16")
    assert len(read_predictions(file, task, split)) == len(split)
    assert "has UTF-16 in the place of UTF-8:" in reading_note(file, task)


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    task, split = split_of("classification")
    with raises(DataError, subject="gone: cannot be read", found="No such file"):
        read_predictions(tmp_path / "gone", task, split)
    (tmp_path / "latin").write_bytes(b"\xff\xe9")
    with raises(DataError, expected="UTF-8"):
        read_predictions(tmp_path / "latin", task, split)
    (tmp_path / "xnli").write_text("in the way")
    with raises(DataError, subject="test-sw.tsv: cannot be written"):
        write_predictions(tmp_path, task, "swa", "test", split, ["neutral"] * 3)


def test_too_few_predictions_are_not_written_and_leave_the_old_file(tmp_path: Path) -> None:
    task, split = split_of("classification")
    file = write_predictions(tmp_path, task, "swa", "test", split, ["neutral"] * 3)
    with raises(DataError, expected="3 predictions", found="2"):
        write_predictions(tmp_path, task, "swa", "test", split, ["neutral"] * 2)
    assert file.read_text() == "neutral\n" * 3


def test_nothing_is_predicted_in_masked_language_modelling(tmp_path: Path) -> None:
    task, split = CATALOGUE["pocket_text_general"], datasets.Dataset.from_dict({"text": ["a"]})
    with raises(SpecError, expected="a kind that is predicted", found="mlm"):
        write_predictions(tmp_path, task, "qas", "test", split, ["a"])
    with raises(SpecError, expected="a kind that is scored", found="mlm"):
        score_predictions(task, "qas", split, ["a"])


# --- scores


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_worked_by_hand(name: str) -> None:
    task_name, columns, predictions, _, expected = CASES[name]
    split = datasets.Dataset.from_dict(columns)
    language = LANGUAGES.get(task_name, "swa")
    found = score_predictions(CATALOGUE[task_name], language, split, predictions)
    assert found["score"] == pytest.approx(expected)
    if name == "questions":
        assert found["em"] == 1 / 2
        assert found["f1"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("name", CASES)
def test_hidden_gold_labels_are_told(name: str) -> None:
    task_name, columns, predictions, *_ = CASES[name]
    task = CATALOGUE[task_name]
    last = task.kind.columns[-1]
    split = datasets.Dataset.from_dict({**columns, last: [None] * len(columns[last])})
    with raises(DataError, subject=f"'{task_name}'", expected="gold labels", advice="--data"):
        score_predictions(task, "swa", split, predictions)


def test_labels_that_the_source_has_not_are_left_out() -> None:
    task = make_task("classification", unscored_labels=["religion"])
    split = datasets.Dataset.from_dict({"text": ["a"] * 3, "label": ["law", "religion", "sport"]})
    assert score_predictions(task, "swa", split, ["law", "law", "sport"]) == {"score": 1.0}
    with raises(DataError, expected="3 predictions", found="2"):
        score_predictions(task, "swa", split, ["law", "sport"])


def test_examples_come_from_the_split_asked_for() -> None:
    task = CATALOGUE["pocket_topic"]
    test = benchmark_split(task, "qaa", "test", POCKET)["text"][:]
    assert not set(test) & set(benchmark_split(task, "qaa", "validation", POCKET)["text"][:])
    with raises(
        UnknownNameError, subject="Language", found="swa", expected="in task 'pocket_topic'"
    ):
        benchmark_split(task, "swa", "test", POCKET)
    with raises(DataError, found="which do not (a test)", advice="name a folder with --data"):
        benchmark_split(CATALOGUE["panx"], "swa", "test", POCKET)


# --- means

# What evaluate_test.py of XTREME expects of its mock predictions, in points: means over languages.
MOCK = {
    "pawsx": {"score": 51.42857142857143},
    "xnli": {"score": 30.666666666666668},
    "panx": {"score": 57.41666666666667},
    "udpos": {"score": 72.42738730075851},
    "bucc2018": {"score": 55.0},
    "tatoeba": {"score": 53.611111111111114},
    "xquad": {"em": 77.27272727272727, "f1": 79.9586776859504},
    "mlqa": {"em": 57.142857142857146, "f1": 81.76870748299321},
    "tydiqa": {"em": 88.88888888888889, "f1": 97.22222222222223},
}


def mock_scores() -> dict[str, TaskScores]:
    """Languages that differ by up to 5 points from the mean, which they have together."""
    scores = {}
    for name, parts in MOCK.items():
        if "em" in parts:
            parts = {"score": (parts["em"] + parts["f1"]) / 2, **parts}
        wanted = XTREME_TASKS[name]
        steps = [10 * i / (len(wanted) - 1) - 5 for i in range(len(wanted))]
        languages = {
            language: {part: (value + step) / 100 for part, value in parts.items()}
            for language, step in zip(wanted, steps, strict=True)
        }
        scores[name] = TaskScores(CATALOGUE[name], languages)
    return scores


def test_a_task_is_the_mean_over_its_languages_and_a_group_over_its_tasks() -> None:
    scores = mock_scores()
    for name, parts in MOCK.items():
        for part, value in parts.items():
            assert 100 * scores[name].mean[part] == pytest.approx(value), name
    groups = group_means(scores)
    assert [*groups] == [*GROUPS]
    assert [100 * (mean or 0) for mean in groups.values()] == pytest.approx(
        # By hand: (30.67 + 51.43) / 2, (72.43 + 57.42) / 2, (78.62 + 69.46 + 93.06) / 3, ...
        [41.047619, 64.922027, 80.375680, 54.305556]
    )
    # Nine tasks of one weight each; the mean of the four groups would be 60.16.
    assert 100 * (overall_mean(scores) or 0) == pytest.approx(62.408605)


def test_no_mean_is_given_over_fewer_tasks_or_languages() -> None:
    scores = mock_scores()
    del scores["xnli"]
    assert group_means(scores)["sentence classification"] is None
    assert group_means(scores)["structured prediction"] is not None
    assert overall_mean(scores) is None

    scores = mock_scores()
    panx = scores["panx"]
    fewer = {code: found for code, found in panx.languages.items() if code != "yor"}
    scores["panx"] = TaskScores(panx.task, fewer)
    assert scores["panx"].missing == ("yor",)
    assert len(scores["panx"].wanted) == 40
    assert group_means(scores)["structured prediction"] is None
    assert overall_mean(scores) is None


def test_languages_beyond_xtreme_are_not_in_its_mean() -> None:
    panx = CATALOGUE["panx"]
    beyond = TaskScores(panx, {"que": {"score": 1.0}})
    assert beyond.mean == {}
    both = TaskScores(panx, {"que": {"score": 1.0}, "swa": {"score": 0.5}})
    assert both.mean == {"score": 0.5}
    assert "que" not in both.missing
    african = TaskScores(CATALOGUE["masakhaner2"], {"bam": {"score": 0.25}})
    assert african.wanted == CATALOGUE["masakhaner2"].languages
