"""The corpora of a study: which splits are read, which examples of them, what is told of them."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objectives.backbone import Backbone
from objectives.data.row_checks import check_scorable
from objectives.data.study_corpora import Corpus, StudyCorpora
from objectives.transfer import TransferObjective
from spaces.errors import DataError
from spaces.recipe import Method, Recipe
from tests.objectives_tests.toy_encoders import PLACES
from tests.objectives_tests.toys import (
    EXAMPLES,
    RETRIEVAL_STAGE,
    make_stage,
    make_task,
    run,
    toy_columns,
    toy_record,
    write_split,
)
from tests.raising import raises


def test_a_study_never_reads_a_test_split(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    """They are all broken here: reading one would raise."""
    objective = make_objective()
    assert set(objective.corpora.fingerprints()) == {
        "deeds eng train",
        "names eng train",
        "names swa validation",
        "names yor validation",
        "news eng train",
        "news swa validation",
    }
    outcome = run(objective, recipe)
    assert {pair.score.split for pair in outcome.pairs} == {"validation"}


def test_selection_on_the_source_language_reads_its_validation_split_too(
    make_corpora: Callable[..., StudyCorpora],
) -> None:
    corpora = make_corpora("selection=source-validation")
    names = corpora.catalogue["names"]
    assert corpora.spec.scored_languages(names) == ("swa", "yor", "eng")
    assert "names eng validation" in corpora.fingerprints()


def test_a_change_of_any_file_that_is_read_changes_its_fingerprint_only(
    make_corpora: Callable[..., StudyCorpora], data: Path
) -> None:
    before = make_corpora().fingerprints()
    file = data / "names/swa/dev.conll"
    file.write_text(file.read_text() + "\njuma\tB-PER\n")
    (data / "names/swa/test.conll").write_text("changed\tO\n")
    after = make_corpora().fingerprints()
    assert {name for name in before if before[name] != after[name]} == {"names swa validation"}


def test_fewer_examples_are_part_of_more(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone
) -> None:
    corpora = make_corpora()
    assert corpora.train_sizes() == {"deeds": EXAMPLES, "names": EXAMPLES, "news": EXAMPLES}
    drawn, keys = [], set()
    for size in (3, 7, EXAMPLES):
        (found,) = (x.corpus for x in corpora.training(bert, make_stage("names", examples=size)))
        assert len(found.encoded) == size
        drawn.append({ids.tobytes() for ids in found.encoded.input_ids})
        keys.add(found.key)
    assert drawn[0] < drawn[1] < drawn[2]
    assert len(keys) == 3


@pytest.fixture
def unbalanced(data: Path) -> Path:
    """News of which twenty are sport, six law and four health, in that order."""
    labels = ["sport"] * 20 + ["law"] * 6 + ["health"] * 4
    lines = [f"{'juma ' * number}\t{label}\n" for number, label in enumerate(labels, 1)]
    (data / "news/eng/train.tsv").write_text("".join(["text\tlabel\n", *lines]))
    return data


@pytest.mark.usefixtures("unbalanced")
def test_few_shots_are_as_many_of_each_class_and_fewer_are_part_of_more(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone
) -> None:
    drawn = []
    for shots in (1, 3, 4):
        stage = make_stage("news", shots=shots, examples=3 * shots)
        (found,) = make_corpora().training(bert, stage)
        assert Counter(found.corpus.encoded.gold) == dict.fromkeys(found.task.labels, shots)
        drawn.append({ids.tobytes() for ids in found.corpus.encoded.input_ids})
    assert drawn[0] < drawn[1] < drawn[2]


@pytest.mark.usefixtures("unbalanced")
@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 9e-4, "epochs": 7, "batch_size": 2},
        {"method": Method.LORA, "lora_rank": 4},
        {"method": Method.SOFT_PROMPT, "prompt_length": 5, "max_length": 32},
    ],
)
def test_all_recipes_learn_from_the_same_shots(
    change: dict[str, Any], make_corpora: Callable[..., StudyCorpora], bert: Backbone
) -> None:
    stage = make_stage("news", shots=2, examples=6)
    (one,) = make_corpora().training(bert, stage)
    (other,) = make_corpora().training(bert, replace(stage, **change))
    assert one.corpus.key == other.corpus.key
    (more,) = make_corpora().training(bert, replace(stage, shots=3, examples=9))
    assert more.corpus.key != one.corpus.key


@pytest.mark.usefixtures("unbalanced")
@pytest.mark.parametrize(
    ("task", "options", "expected", "found", "advice"),
    [
        (
            *("names", {"examples": EXAMPLES + 1}, "13 training examples", "12"),
            "lower `examples` in the study or drop the task",
        ),
        (
            *("news", {"shots": 5, "examples": 15}, "5 training examples of class 'health'", "4"),
            "lower target.shots",
        ),
    ],
)
def test_too_few_examples_are_an_error_that_says_what_to_do(
    task: str,
    options: dict[str, int],
    expected: str,
    found: str,
    advice: str,
    make_corpora: Callable[..., StudyCorpora],
    bert: Backbone,
) -> None:
    subject = f"task {task!r}"
    with raises(DataError, subject=subject, expected=expected, found=found, advice=advice):
        make_corpora().training(bert, make_stage(task, **options))


def test_examples_of_labels_that_the_source_lacks_are_left_out_and_counted(
    make_objective: Callable[..., TransferObjective],
    recipe: Recipe,
    data: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = data / "news/swa/dev.tsv"
    file.write_text(file.read_text() + "juma analala\treligion\nasha\treligion\n")
    with caplog.at_level(logging.WARNING):
        outcome = run(make_objective(), recipe)
    (news,) = (pair.score for pair in outcome.pairs if pair.score.task == "news")
    assert (news.examples, news.unscored_examples) == (8, 2)
    assert "news swa validation: 2 of 10 examples are not scored" in caplog.text


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_split_on_which_every_model_scores_0_is_refused(
    split: str, make_corpora: Callable[..., StudyCorpora], bert: Backbone, data: Path
) -> None:
    corpora = make_corpora()
    corpora.check_scored()
    (data / f"names/swa/{split}.conll").write_text("juma\tO\nanalala\tO\n\nasha\tO\n")
    which = {"dev": "validation", "test": "test"}[split]
    with raises(
        DataError,
        subject=f"task 'names', swa {which} split",
        expected="at least one entity",
        advice="target.without.names",
    ):
        if split == "dev":
            make_corpora().check_scored()
        else:
            corpora.confirmation(bert, make_stage("names"), "swa")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("qa", [[], []], "at least one answer"),
        ("similarity", [2.5, 2.5], "scores that differ"),
        ("classification", ["religion"], "at least one of the labels"),
    ],
)
def test_splits_of_other_kinds_that_cannot_be_scored_are_refused(
    kind: str, values: list[Any], expected: str
) -> None:
    task = make_task(kind)
    with raises(DataError, expected=expected):
        check_scorable(values, task, "here")
    check_scorable([None, None], task, "here")  # hidden, which is another matter


# --- large validation splits


def most(examples: int) -> str:
    """The override that cuts validation splits."""
    return f"target.validation_examples={examples}"


def rows(corpus: Corpus) -> list[bytes]:
    """The examples as the encoder reads them."""
    return [ids.tobytes() for ids in corpus.encoded.input_ids]


def test_of_a_large_validation_split_as_many_are_scored_as_the_study_says(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone, data: Path
) -> None:
    write_split(data / "names/swa/dev.conll", toy_columns("ner", 40, seed=3))
    stage = make_stage("names")
    whole = make_corpora().evaluation(bert, stage, "swa")
    assert len(whole.encoded) == 40
    order = rows(whole)
    keys, before = {whole.key}, set[bytes]()
    for size in (1, 7, 39):
        drawn = make_corpora(most(size)).evaluation(bert, stage, "swa")
        assert len(drawn.encoded) == size
        assert [x for x in order if x in set(rows(drawn))] == rows(drawn), "in their order"
        assert before <= set(rows(drawn)), "fewer are part of more"
        before = set(rows(drawn))
        keys.add(drawn.key)
    assert len(keys) == 4
    assert make_corpora(most(40)).evaluation(bert, stage, "swa").key == whole.key


def test_all_trials_are_scored_on_the_same_examples(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone
) -> None:
    one = make_corpora(most(5), "first_seed=0").evaluation(bert, make_stage("names"), "swa")
    stage = make_stage("names", learning_rate=9e-4, epochs=7, examples=3, max_length=32)
    corpora = make_corpora(most(5), "first_seed=8", 'target.tasks=["names"]', "target.epochs=7")
    assert corpora.evaluation(bert, stage, "swa").key == one.key


def test_examples_are_drawn_among_those_whose_label_is_known(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone, data: Path
) -> None:
    file = data / "news/swa/dev.tsv"
    file.write_text(file.read_text() + "juma analala\treligion\n" * 30)
    corpus = make_corpora(most(6)).evaluation(bert, make_stage("news"), "swa")
    assert (len(corpus.encoded), corpus.unscored) == (6, 30)


def test_test_splits_and_retrieval_are_never_cut(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone, data: Path
) -> None:
    shutil.copy(data / "names/swa/dev.conll", data / "names/swa/test.conll")
    corpora = make_corpora(most(3))
    assert len(corpora.evaluation(bert, make_stage("names"), "swa").encoded) == 3
    assert len(corpora.confirmation(bert, make_stage("names"), "swa").encoded) == 8
    assert len(corpora.evaluation(bert, RETRIEVAL_STAGE, "swa").encoded) == 12


def test_questions_of_one_passage_are_drawn_together(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone, data: Path
) -> None:
    """Passages of 1 to 4 questions: as many whole ones as there is room for, at least one."""
    sizes = [1, 4, 2, 3, 1, 4]
    passages = []
    for number, size in enumerate(sizes):
        place = PLACES[0]
        questions = [
            {
                "id": f"{number}-{question}",
                "question": "wapi",
                "answers": [{"text": place, "answer_start": 2}],
            }
            for question in range(size)
        ]
        passages.append({"context": f"{number} {place}", "qas": questions})
    file = data / "answers/swa/dev.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"data": [{"title": "", "paragraphs": passages}]}))
    record = toy_record("answers", "qa", "general", "eng swa", answers="squad")
    stage = make_stage("answers", max_length=32)
    before = set[str]()
    for limit in range(1, sum(sizes) + 1):
        corpora = make_corpora(record.replace(" = ", "=", 1), most(limit))
        corpus = corpora.evaluation(bert, stage, "swa")
        drawn = Counter(corpus.examples["context"][:])
        assert corpus.groups is not None
        assert sorted(Counter(corpus.groups.tolist()).values()) == sorted(drawn.values())
        assert all(count == sizes[int(x.split()[0])] for x, count in drawn.items())
        assert drawn.total() <= limit or len(drawn) == 1
        assert before <= drawn.keys()
        before = set(drawn)
    assert len(before) == len(sizes)


def test_the_figures_of_another_cut_are_not_taken_for_those_of_this_one(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    for size in (3, 5, 8):
        pairs = run(make_objective(most(size)), recipe).pairs
        assert {pair.score.examples for pair in pairs} == {size}
        assert {pair.score.examples for pair in pairs} == {size}


def test_words_that_are_cut_off_are_counted_and_told(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = make_corpora().evaluation(bert, make_stage("names", max_length=4), "swa")
    words = sum(len(tags) for tags in found.encoded.gold if isinstance(tags, list))
    assert found.encoded.lost_words > 0
    assert f"{found.encoded.lost_words} of {words} words have no sub-word (cut off at 4" in (
        caplog.text
    )
