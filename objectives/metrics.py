"""Predicting a split and scoring it, with the libraries that define the metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from seqeval.metrics import f1_score as seqeval_f1
from sklearn.metrics import accuracy_score, f1_score
from torch import nn

from objectives.batching import Padding, collate, length_order
from objectives.encoding import EncodedSplit
from objectives.hardware import Hardware
from objectives.training import TOKEN_BUDGET, is_out_of_memory
from spaces.catalogue import Metric, Task
from spaces.errors import DataError, DeviceMemoryError

# Sub-words, padding included, that a CPU scores at once. What a batch of the size that suits a
# GPU passes from layer to layer does not fit its cache: 482 sentences took three times as long.
CPU_TOKEN_BUDGET = 1024
NO_PREDICTION = "O"
"""What a word without a sub-word is predicted as: in seqeval no span of any type, so that the
word is missed; in accuracy no tag of a POS task."""


def predict(
    model: nn.Module,
    split: EncodedSplit,
    padding: Padding,
    hardware: Hardware,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[NDArray[np.float32]]:
    """Logits per example, in the order of the split: [words, c], [c] or [1].

    The row of a word that no sub-word stands for is NaN.

    Args:
        model: Moved to the device, and left in evaluation mode.
        split: The encoded examples, in any order of lengths.
        padding: Of the backbone's tokenizer.
        hardware: Device and precision.
        on_batch: Called after each batch with examples done and in all; may raise to end it.

    Raises:
        DeviceMemoryError: Not even one example fits on the device.
    """
    model.to(hardware.device).eval()
    found: dict[int, NDArray[np.float32]] = {}
    budget = CPU_TOKEN_BUDGET if hardware.device.type == "cpu" else TOKEN_BUDGET
    waiting = list(length_order(split.lengths, budget))[::-1]
    while waiting:
        rows = waiting.pop()
        batch = collate(split, rows, padding)
        batch.pop("labels", None)
        try:
            with torch.inference_mode(), hardware.autocast():
                inputs = {name: tensor.to(hardware.device) for name, tensor in batch.items()}
                logits = model(**inputs).logits.float().cpu().numpy()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise DeviceMemoryError(f"out of memory on {hardware.device}: {error}") from error
            half = len(rows) // 2
            waiting += [rows[half:], rows[:half]]
            continue
        width = batch["input_ids"].shape[1]
        for place, row in enumerate(rows):
            found[int(row)] = _of_words(logits[place], split, int(row), width, padding.left)
        on_batch(len(found), len(split))
    return [found[row] for row in range(len(split))]


def predicted_labels(
    logits: Sequence[NDArray[np.float32]], task: Task
) -> list[list[str]] | list[str] | list[float]:
    """What the logits say, in the corpus's labels: tags per word, a class, or a score."""
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


def compute_score(metric: Metric | str, gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """One number for a split.

    `span_f1` is seqeval's micro F1 over spans, for POS tags too, as in XTREME (Hu et al. 2020,
    https://github.com/google-research/xtreme, third_party/run_tag.py). `accuracy` and `macro_f1`
    are scikit-learn's; macro F1 is over the classes that stand in gold or predictions.
    `spearman` is scipy's rank correlation; it is 0 where all predictions are equal.

    Args:
        metric: Which; its name will do.
        gold: Tags per word [examples][words], classes [examples], or scores [examples].
        predicted: Of the same shape.

    Raises:
        DataError: Nothing to score, hidden labels, or lengths that differ.
        ValueError: No such metric.
    """
    metric = Metric(metric)
    if not gold or any(value is None for value in gold):
        raise DataError("scoring: expected gold labels, found none (are they hidden?)")
    if len(gold) != len(predicted):
        raise DataError(f"scoring: expected {len(gold)} predictions, found {len(predicted)}")
    if isinstance(gold[0], list):
        for row, (tags, guesses) in enumerate(zip(gold, predicted, strict=True)):
            if len(tags) != len(guesses):
                raise DataError(
                    f"scoring: example {row}: expected {len(tags)} tags, found {len(guesses)}"
                )
    if metric is Metric.SPAN_F1:
        with warnings.catch_warnings():
            # POS tags are no chunk tags, of which seqeval warns once per tag; a split without
            # any span has F1 0.
            warnings.filterwarnings("ignore", message=".*seems not to be NE tag.*")
            return float(seqeval_f1(gold, predicted, zero_division=0))
    if isinstance(gold[0], list):  # accuracy and macro F1 of tags are over words
        gold, predicted = list(chain(*gold)), list(chain(*predicted))
    if metric is Metric.ACCURACY:
        return float(accuracy_score(gold, predicted))
    if metric is Metric.MACRO_F1:
        return float(f1_score(gold, predicted, average="macro", zero_division=0))
    if len(set(predicted)) == 1 or len(set(gold)) == 1:
        return 0.0
    return float(scipy.stats.spearmanr(gold, predicted).statistic)


def _of_words(
    logits: NDArray[np.float32], split: EncodedSplit, row: int, width: int, left: bool
) -> NDArray[np.float32]:
    if split.word_positions is None:
        return logits
    positions = split.word_positions[row]
    shift = width - len(split.input_ids[row]) if left else 0
    words: NDArray[np.float32] = logits[np.maximum(positions, 0) + shift]
    words[positions < 0] = np.nan
    return words
