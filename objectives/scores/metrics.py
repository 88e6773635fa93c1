"""Predicting a split and scoring it, with the libraries that define the metrics.

Question answering and retrieval, which no library scores as XTREME does, are in
`objectives.scores.answers` and `objectives.scores.retrieval`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from objectives.data.batching import collate, length_order
from objectives.data.encoding import EncodedSplit, Windows
from objectives.hardware import is_out_of_memory
from objectives.runner import Runner
from objectives.scores.answers import AnswerWindow, best_answer, exact_match_and_f1
from objectives.scores.retrieval import pair_f1, pool
from objectives.scores.spans import span_counts, span_f1
from objectives.training.updates import TOKEN_BUDGET, model_logits
from spaces.errors import DataError, DeviceMemoryError, SpecError, first_line
from spaces.task import AnswerNormalisation, Metric, Task

# Sub-words, padding included, that a CPU scores at once. What a batch of the size that suits a
# GPU passes from layer to layer does not fit its cache: 482 sentences took three times as long.
CPU_TOKEN_BUDGET = 1024
# What a batch costs beside its sub-words, in sub-words. On a CPU 5 ms of 0.26 ms each (MiniLM, one
# thread); on a GPU the launches of a batch take about as long as a full one does, by estimate.
CPU_BATCH_COST = 20
BATCH_COST = TOKEN_BUDGET
NO_PREDICTION = "O"
"""What a word without a sub-word is predicted as: in seqeval no span of any type, so that the
word is missed; in accuracy no tag of a POS task."""


def predict(
    model: nn.Module,
    split: EncodedSplit,
    runner: Runner,
) -> list[NDArray[np.float32]]:
    """Logits per row, in the order of the split: [words, c], [c], [1] or, for QA, [s, 2].

    The row of a word that no sub-word stands for is NaN.

    Args:
        model: Moved to the device, and left in evaluation mode.
        split: Encoded examples, in any order of lengths.
        runner: Hardware, padding, and the listener told of each batch.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
    """

    def of_batch(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return model_logits(model, inputs)

    by_row = _over_rows(model, of_batch, split, runner)
    return [_of_words(logits, split, row) for row, logits in enumerate(by_row)]


def embed(
    model: nn.Module,
    split: EncodedSplit,
    layers: Sequence[int],
    runner: Runner,
) -> NDArray[np.float32]:
    """Sentence vectors of several layers, [layers, rows, d]: means of states over the sub-words.

    States are averaged batch by batch and not kept.

    Args:
        model: An encoder without a head; moved to the device, and left in evaluation mode.
        split: Encoded sentences, in any order of lengths.
        layers: Indices of the layers whose states are averaged: 0 for the embeddings, -1 for the
            last layer.
        runner: Hardware, padding, and the listener told of each batch.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
        SpecError: There is no such layer.
    """

    def of_batch(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        states = model(**inputs, output_hidden_states=True).hidden_states
        if wrong := [layer for layer in layers if not -len(states) <= layer < len(states)]:
            raise SpecError(
                "target.pooled_layer",
                f"{-len(states)} to {len(states) - 1} for this backbone",
                str(wrong[0]),
            )
        mask = inputs["attention_mask"]
        return torch.cat([pool(states[layer], mask) for layer in layers], -1)  # [b, layers * d]

    by_row = np.stack(_over_rows(model, of_batch, split, runner))
    return by_row.reshape(len(by_row), len(layers), -1).transpose(1, 0, 2)


def _over_rows(
    model: nn.Module,
    of_batch: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    split: EncodedSplit,
    runner: Runner,
) -> list[NDArray[np.float32]]:
    """The values that `of_batch` computes for each row, without those of padding.

    Rows that are equal, of which Wikipedia's short sentences and Tatoeba's have many, go through
    the model once.
    """
    hardware, padding = runner.hardware, runner.padding
    model.to(hardware.device).eval()
    by_row: dict[int, NDArray[np.float32]] = {}
    sizes = TOKEN_BUDGET, BATCH_COST
    if hardware.device.type == "cpu":
        sizes = CPU_TOKEN_BUDGET, CPU_BATCH_COST
    alike = _equal_rows(split)
    firsts = np.array(list(alike), np.int64)
    waiting = [firsts[x] for x in length_order(split.row_lengths[firsts], *sizes)][::-1]
    while waiting:
        rows = waiting.pop()
        batch = collate(split, rows, padding)
        batch.pop("labels", None)
        batch.pop("spans", None)
        try:
            with torch.inference_mode(), hardware.autocast():
                inputs = {name: tensor.to(hardware.device) for name, tensor in batch.items()}
                values = of_batch(inputs).float().cpu().numpy()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise DeviceMemoryError(
                    f"out of memory on {hardware.device} with one row",
                    found=first_line(error),
                    advice="lower max_length or take a larger device",
                ) from error
            half = len(rows) // 2
            waiting += [rows[half:], rows[:half]]
            continue
        width = batch["input_ids"].shape[1]
        for place, row in enumerate(rows):
            of_row = values[place]
            if of_row.ndim == 2 and len(of_row) == width:
                length = len(split.input_ids[row])
                of_row = of_row[-length:] if padding.left else of_row[:length]
            by_row.update(dict.fromkeys(alike[int(row)], of_row))
        runner.on_batch(len(by_row), len(split.input_ids))
    return [by_row[row] for row in range(len(split.input_ids))]


def _equal_rows(split: EncodedSplit) -> dict[int, list[int]]:
    """The first of rows that are equal to the model -> all of them, itself included."""
    segments = split.token_type_ids
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    for row, ids in enumerate(split.input_ids):
        seen = ids.tobytes(), b"" if segments is None else segments[row].tobytes()
        alike.setdefault(seen, []).append(row)
    return {rows[0]: rows for rows in alike.values()}


def predicted_labels(
    logits: Sequence[NDArray[np.float32]], split: EncodedSplit, task: Task
) -> list[Any]:
    """Prediction for each example: tags per word, a class, a score or an answer.

    Args:
        logits: Logits per row, as `predict` returns them.
        split: Encoded examples that the logits are for.
        task: Catalogue record with the labels, and whether "no answer" is an answer.
    """
    if split.windows is not None:
        return _answers(logits, split.windows, task)
    if task.kind.is_tagging:
        return [
            [
                NO_PREDICTION if np.isnan(word[0]) else task.tags[int(word.argmax())]
                for word in words
            ]
            for words in logits
        ]
    if task.kind.is_classification:
        return [task.labels[int(values.argmax())] for values in logits]
    return [float(values[0]) for values in logits]


def _answers(logits: Sequence[NDArray[np.float32]], windows: Windows, task: Task) -> list[str]:
    return [
        best_answer(
            [
                AnswerWindow(
                    logits[row][:, 0], logits[row][:, 1], windows.offsets[row], windows.null[row]
                )
                for row in rows
            ],
            context,
            null_allowed=task.unanswerable,
        )
        for rows, context in zip(windows.rows, windows.contexts, strict=True)
    ]


def compute_score(
    metric: Metric | str,
    gold: Sequence[Any],
    predicted: Sequence[Any],
    answers: AnswerNormalisation | None = None,
    language: str = "",
) -> float:
    """The score of a split.

    `span_f1` is seqeval's micro F1 over spans, for POS tags too, as in XTREME (Hu et al. 2020,
    https://github.com/google-research/xtreme, third_party/run_tag.py). `accuracy` and `macro_f1`
    are scikit-learn's; macro F1 is over the classes that stand in gold or predictions.
    `spearman` is scipy's rank correlation; it is 0 where all predictions are equal. `em_f1` is
    the mean of exact match and F1 of answers, and `bucc_f1` the F1 of pairs of sentences.

    Args:
        metric: Metric, or its name.
        gold: Right labels: tags per word [examples][words], classes [examples], scores
            [examples], possible answers [examples][...], or pairs of ids, in any order.
        predicted: Predictions of the same shape, with one answer per example; pairs may be fewer
            or more.
        answers: Normalisation of answers, for `em_f1`.
        language: ISO 639-3 code of the answers' language, for `em_f1`.

    Raises:
        DataError: Nothing to score, hidden labels, or lengths that differ.
        ValueError: No such metric.
    """
    metric = Metric(metric)
    if metric is Metric.EM_F1:
        if answers is None:
            raise ValueError("em_f1: expected how answers are normalised")
        return sum(exact_match_and_f1(gold, predicted, answers, language)) / 2
    if not gold or any(value is None for value in gold):
        raise DataError(
            "scoring", "gold labels", "none", "name a source in which they are not hidden"
        )
    if metric is Metric.BUCC_F1:
        return pair_f1(set(predicted), set(gold))
    if len(gold) != len(predicted):
        raise DataError("scoring", f"{len(gold)} predictions", str(len(predicted)))
    if isinstance(gold[0], list):
        for row, (tags, guesses) in enumerate(zip(gold, predicted, strict=True)):
            if len(tags) != len(guesses):
                raise DataError(f"scoring: example {row}", f"{len(tags)} tags", str(len(guesses)))
    if metric is Metric.SPAN_F1:
        return span_f1(span_counts(gold, predicted))
    if isinstance(gold[0], list):  # accuracy and macro F1 of tags are over words
        gold, predicted = list(chain(*gold)), list(chain(*predicted))
    # Either library takes a good part of a second, and the first update of a study needs none.
    if metric is Metric.ACCURACY:
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(gold, predicted))
    if metric is Metric.MACRO_F1:
        from sklearn.metrics import f1_score

        return float(f1_score(gold, predicted, average="macro", zero_division=0))
    if len(set(predicted)) == 1 or len(set(gold)) == 1:
        return 0.0
    import scipy.stats

    return float(scipy.stats.spearmanr(gold, predicted).statistic)


def _of_words(logits: NDArray[np.float32], split: EncodedSplit, row: int) -> NDArray[np.float32]:
    if split.word_positions is None:
        return logits
    positions = split.word_positions[row]
    words: NDArray[np.float32] = logits[np.maximum(positions, 0)]
    words[positions < 0] = np.nan
    return words
