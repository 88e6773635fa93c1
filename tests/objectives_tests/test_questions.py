"""Question answering: windows over long contexts, and answers out of every family of encoders."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from objectives.backbone import Backbone
from objectives.data.batching import Padding, collate
from objectives.data.encoding import MAX_QUESTION, SHORTEST_WINDOW, EncodedSplit, encode
from objectives.models.encoders import build_model
from objectives.scores.metrics import predict, predicted_labels
from objectives.training import fine_tuning as training
from objectives.training.fine_tuning import finetune
from objectives.training.updates import span_loss
from spaces.errors import SpecError
from spaces.recipe import Schedule
from spaces.task import Task
from tests.objectives_tests.toy_encoders import FAMILIES
from tests.objectives_tests.toys import make_stage, make_task, runner_for, toy_columns
from tests.raising import raises

Columns = dict[str, list[Any]]
QUESTIONS = 8


def split_of(columns: Columns, task: Task, backbone: Backbone, max_length: int) -> EncodedSplit:
    return encode(datasets.Dataset.from_dict(columns), task, backbone.tokenizer, max_length)


@pytest.fixture
def questions() -> Columns:
    """Questions on texts of three sentences."""
    return toy_columns("qa", QUESTIONS)


@pytest.fixture
def windowed(any_backbone: Backbone, questions: Columns) -> EncodedSplit:
    """The questions in windows so short that every family needs several."""
    return split_of(questions, make_task("qa"), any_backbone, SHORTEST_WINDOW)


def window_texts(split: EncodedSplit, example: int) -> list[str]:
    """What of the context each window of an example shows."""
    assert split.windows is not None
    texts = []
    for row in split.windows.rows[example]:
        inside = split.windows.offsets[row]
        inside = inside[inside[:, 0] >= 0]
        texts.append(split.windows.contexts[example][inside[0, 0] : inside[-1, 1]])
    return texts


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """The model so that it learns eight examples by heart in little time."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


# --- windows


def test_windows_cover_the_context_and_overlap_by_a_third(windowed: EncodedSplit) -> None:
    assert windowed.windows is not None
    for example, context in enumerate(windowed.windows.contexts):
        rows = windowed.windows.rows[example]
        assert len(rows) > 1
        inside = [x[x[:, 0] >= 0] for x in (windowed.windows.offsets[row] for row in rows)]
        seen = {place for window in inside for a, b in window for place in range(a, b)}
        assert {place for place, letter in enumerate(context) if letter != " "} <= seen
        for before, after in pairwise(inside):
            shared = set(map(tuple, before)) & set(map(tuple, after))
            # Pieces of one letter may stand at one place, and a mark of a space at none.
            assert abs(len(shared) - SHORTEST_WINDOW // 3) <= 2
    assert max(windowed.row_lengths) <= SHORTEST_WINDOW


def test_an_answer_is_placed_in_the_windows_that_hold_all_of_it(
    windowed: EncodedSplit, questions: Columns
) -> None:
    """Elsewhere the place is that of "no answer"; a place stands once in each text."""
    assert windowed.windows is not None
    assert isinstance(windowed.labels, np.ndarray)
    placed = 0
    for example, answers in enumerate(questions["answers"]):
        text = answers[0]["text"]
        shown = window_texts(windowed, example)
        for row, window in zip(windowed.windows.rows[example], shown, strict=True):
            first, last = windowed.labels[row]
            if text in window:
                offsets = windowed.windows.offsets[row]
                context = windowed.windows.contexts[example]
                assert context[offsets[first, 0] : offsets[last, 1]].strip() == text
                placed += 1
            else:
                assert first == last == windowed.windows.null[row]
        assert any(text in window for window in shown)
    assert QUESTIONS <= placed < len(windowed.input_ids)


@pytest.mark.parametrize("answer", ["Ọlá", "Èkó", "N'Djamena,", "ቤት", "42 %"])
def test_a_place_leads_back_to_the_letters_of_the_text(
    answer: str, any_backbone: Backbone
) -> None:
    """Whatever the tokenizer makes of case, marks and letters that it does not know."""
    context = "Juma, Ọlá ń gbé ní Èkó. N'Djamena, àti ቤት ilé: 42 % mombasa."
    columns = {
        "id": ["q"],
        "question": ["wapi?"],
        "context": [context],
        "answers": [[{"text": answer, "start": context.index(answer)}]],
    }
    split = split_of(columns, make_task("qa"), any_backbone, 200)
    assert split.windows is not None
    assert isinstance(split.labels, np.ndarray)
    ((first, last),) = split.labels
    offsets = split.windows.offsets[0]
    assert first > split.windows.null[0] or any_backbone.config.model_type == "xlnet"
    found = context[offsets[first, 0] : offsets[last, 1]].strip()
    assert answer in found
    assert len(found) <= len(answer) + 1, "at most the mark after it, in the same sub-word"
    # A model that is sure of this place answers with just these letters.
    logits = np.zeros((len(offsets), 2), np.float32)
    logits[first, 0] = logits[last, 1] = 9
    assert predicted_labels([logits], split, make_task("qa")) == [found]


def test_no_answer_stands_on_the_classifier_token(
    windowed: EncodedSplit, any_backbone: Backbone
) -> None:
    assert windowed.windows is not None
    classifier = any_backbone.tokenizer.cls_token_id
    for ids, null in zip(windowed.input_ids, windowed.windows.null, strict=True):
        assert ids[null] == classifier
        assert (ids == classifier).sum() == 1


def test_examples_are_counted_and_not_windows(windowed: EncodedSplit) -> None:
    assert windowed.windows is not None
    assert len(windowed) == QUESTIONS < len(windowed.input_ids)
    rows = np.concatenate([windowed.rows_of(np.array([i])) for i in range(QUESTIONS)])
    assert rows.tolist() == list(range(len(windowed.input_ids)))
    chosen = windowed.rows_of(np.array([5, 2]))
    assert chosen.tolist() == [*windowed.windows.rows[5], *windowed.windows.rows[2]]
    longest = [max(windowed.row_lengths[rows]) for rows in windowed.windows.rows]
    assert windowed.lengths.tolist() == longest


def test_a_long_question_is_cut_so_that_the_text_keeps_its_room(
    any_backbone: Backbone, questions: Columns
) -> None:
    long = questions | {"question": ["juma anasoma " * 50] * QUESTIONS}
    for max_length in (SHORTEST_WINDOW, 64, 200):
        split = split_of(long, make_task("qa"), any_backbone, max_length)
        assert split.windows is not None
        special = any_backbone.tokenizer.num_special_tokens_to_add(pair=True)
        for ids, offsets in zip(split.input_ids, split.windows.offsets, strict=True):
            asked = len(ids) - (offsets[:, 0] >= 0).sum() - special
            assert 1 < asked <= min(MAX_QUESTION, max_length // 2)
        assert max(split.row_lengths) <= max_length


def test_questions_without_an_answer_and_with_hidden_ones(
    bert: Backbone, questions: Columns
) -> None:
    answers = [[], None, *questions["answers"][2:]]
    split = split_of(questions | {"answers": answers}, make_task("qa"), bert, SHORTEST_WINDOW)
    assert split.windows is not None
    assert isinstance(split.labels, np.ndarray)
    assert split.gold[:2] == [[], None]
    assert split.gold[2] == [questions["answers"][2][0]["text"]]
    rows = split.rows_of(np.array([0, 1]))
    assert (split.labels[rows] == split.windows.null[rows][:, None]).all()


def test_windows_too_short_for_a_question_are_refused(bert: Backbone, questions: Columns) -> None:
    with raises(SpecError, subject="max_length", expected="32 or more", found="31"):
        split_of(questions, make_task("qa"), bert, SHORTEST_WINDOW - 1)


# --- training and answering


def test_loss_of_spans_worked_by_hand() -> None:
    ones = torch.zeros(1, 3, 2)  # three places, alike: log 3 for the beginning and the end
    assert span_loss(ones, torch.tensor([[0, 2]])).item() == pytest.approx(np.log(3))
    sure = torch.tensor([[[9.0, 0.0], [0.0, 0.0], [0.0, 9.0]]])
    assert span_loss(sure, torch.tensor([[0, 2]])).item() == pytest.approx(0, abs=1e-3)
    assert span_loss(sure, torch.tensor([[2, 0]])).item() == pytest.approx(9, abs=1e-3)
    both = torch.cat([ones, sure]), torch.tensor([[0, 2], [2, 0]])
    assert span_loss(*both).item() == pytest.approx(9 + np.log(3), abs=1e-3)


def test_a_batch_holds_all_windows_of_its_examples_and_updates_count_examples(
    bert: Backbone, questions: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task("qa")
    split = split_of(questions, task, bert, SHORTEST_WINDOW)
    assert split.windows is not None
    batches: list[frozenset[int]] = []

    def spy(part: EncodedSplit, rows: np.ndarray, padding: Padding) -> dict[str, torch.Tensor]:
        batches.append(frozenset(map(int, rows)))
        return collate(part, rows, padding)

    monkeypatch.setattr(training, "collate", spy)
    stage = make_stage(task.name, examples=QUESTIONS, batch_size=3, epochs=2)
    model = build_model(bert, bert.weights, task, 0)
    trained = finetune([(model, split)], stage, 0, runner_for(bert))
    assert trained.updates == stage.updates == 2 * 3
    examples = [frozenset(map(int, rows)) for rows in split.windows.rows]
    for batch in batches:
        inside = [rows for rows in examples if rows & batch]
        assert frozenset().union(*inside) == batch
        assert len(inside) in {2, 3}
    assert sum(map(len, batches[:3])) == len(split.input_ids)


# Their windows are looked at in all families above; here are one of each kind of tokenizer.
@pytest.mark.parametrize(
    "any_backbone",
    [
        *("bert", "xlm-roberta", "xlnet"),
        *(
            pytest.param(family, marks=pytest.mark.slow)
            for family in FAMILIES
            if family not in {"bert", "xlm-roberta", "xlnet"}
        ),
    ],
    indirect=True,
)
def test_every_family_learns_where_answers_stand(
    any_backbone: Backbone, questions: Columns
) -> None:
    """Eight questions, over and over: then it answers all of them right from its windows."""
    task = make_task("qa")
    runner = runner_for(any_backbone)
    split = split_of(questions, task, any_backbone, 64)
    model = without_dropout(build_model(any_backbone, any_backbone.weights, task, 0))
    stage = make_stage(
        task.name, epochs=45, batch_size=4, learning_rate=1e-2, schedule=Schedule.LINEAR
    )
    finetune([(model, split)], stage, 0, runner)
    logits = predict(model, split, runner)
    assert [len(values) for values in logits] == split.row_lengths.tolist()
    found = predicted_labels(logits, split, task)
    assert found == [answers[0]["text"] for answers in questions["answers"]]


def test_that_there_is_no_answer_is_learnt_and_only_said_where_it_can_be_right(
    bert: Backbone, questions: Columns
) -> None:
    task = make_task("qa", unanswerable=True)
    answers = [found if number % 2 else [] for number, found in enumerate(questions["answers"])]
    contexts = [
        context if found else context.replace(gold[0]["text"], "juma")
        for context, found, gold in zip(
            questions["context"], answers, questions["answers"], strict=True
        )
    ]
    runner = runner_for(bert)
    columns = questions | {"answers": answers, "context": contexts}
    split = split_of(columns, task, bert, SHORTEST_WINDOW)
    model = without_dropout(build_model(bert, bert.weights, task, 0))
    stage = make_stage(task.name, epochs=45, batch_size=4, learning_rate=1e-2)
    finetune([(model, split)], stage, 0, runner)
    logits = predict(model, split, runner)
    expected = [found[0]["text"] if found else "" for found in answers]
    assert predicted_labels(logits, split, task) == expected
    assert all(predicted_labels(logits, split, make_task("qa")))
