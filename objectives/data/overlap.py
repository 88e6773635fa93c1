"""Examples that stand in a training split and in an evaluation split of a target: data leakage.

Texts are compared after normalisation, exactly: Unicode NFKC, case folded, without punctuation and
white space, so that a sentence equals itself in tokens. Only 8-byte hashes are kept.

What of an example is compared:

- its input, as `examples`: the text, the sentence of a tagging task, both texts of a pair in
  either order, question and context, each sentence of a retrieval task;
- parts of its input, as `texts`: each text of a pair, the context of a question, else the same.

A pair of splits of different kinds can share texts; examples only where their inputs have the same
parts.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import datasets

from objectives.data.sources import TestPurpose, load_test_split
from objectives.data.study_corpora import StudyCorpora
from spaces.errors import DataError
from spaces.studies import SplitName
from spaces.task import TaskKind


@dataclass(frozen=True)
class InputHashes:
    """What is kept of a split.

    Attributes:
        examples: The hash of each example's input; those without a letter or digit are left out.
        texts: The hashes of all texts in them.
        size: Examples in the split.
    """

    examples: tuple[bytes, ...]
    texts: frozenset[bytes]
    size: int


@dataclass(frozen=True)
class Overlap:
    """How much of an evaluation split stands in a training split.

    Attributes:
        training: Task, language and split.
        evaluation: Task, language and split. A test split of a halved task is all of it.
        examples: Examples of the evaluation split whose input is in the training split.
        size: Examples of the evaluation split.
        texts: Different texts of the evaluation split that are in the training split.
        all_texts: Different texts of the evaluation split.
        problem: Why the evaluation split was compared with none; then the numbers are 0 and
            `training` is empty.
    """

    training: SplitName
    evaluation: SplitName
    examples: int = 0
    size: int = 0
    texts: int = 0
    all_texts: int = 0
    problem: str = ""

    @property
    def share(self) -> float:
        """Of the examples of the evaluation split, in [0, 1]."""
        return self.examples / self.size if self.size else 0.0

    @property
    def text_share(self) -> float:
        """Of the different texts of the evaluation split, in [0, 1]."""
        return self.texts / self.all_texts if self.all_texts else 0.0


def study_overlaps(corpora: StudyCorpora) -> list[Overlap]:
    """The overlap of all training splits of a study with the evaluation splits of its targets.

    Evaluation splits are the validation and test splits in the target languages and the source
    language. Those that the source does not have are in the result, with the problem.

    Args:
        corpora: Data of the study; what it has read already is not read again.

    Returns:
        As `find_overlap`; the splits that were not compared come last.

    Raises:
        DataError: A training split cannot be read.
    """
    spec, catalogue = corpora.spec, corpora.catalogue
    training = {
        name: hash_inputs(corpora.read(name), catalogue[name[0]].kind)
        for name in sorted(set(spec.training_splits(catalogue).values()))
    }
    evaluation = {}
    problems = []
    for name in spec.evaluation_splits(catalogue):
        owner, language, split = name
        task = catalogue[owner]
        try:
            if split == "test":
                rows = load_test_split(task, language, corpora.source, TestPurpose.OVERLAP)
            else:
                rows = corpora.read(name)
        except DataError as error:
            problems.append(Overlap(("", "", ""), name, problem=str(error)))
        else:
            evaluation[name] = hash_inputs(rows, task.kind)
    return [*find_overlap(training, evaluation), *problems]


def find_overlap(
    training: Mapping[SplitName, InputHashes], evaluation: Mapping[SplitName, InputHashes]
) -> list[Overlap]:
    """Compare every training split with every evaluation split.

    Returns:
        One row per pair of splits, also where nothing is shared; the largest share of examples
        first, then the largest share of texts.
    """
    overlaps = []
    for training_name, trained in training.items():
        examples = frozenset(trained.examples)
        for evaluation_name, scored in evaluation.items():
            overlaps.append(
                Overlap(
                    training_name,
                    evaluation_name,
                    sum(example in examples for example in scored.examples),
                    scored.size,
                    len(scored.texts & trained.texts),
                    len(scored.texts),
                )
            )
    return sorted(overlaps, key=lambda x: (-x.share, -x.text_share, x.training, x.evaluation))


def describe_overlap(overlap: Overlap) -> str:
    """One line, as "wikigold eng train and panx eng test share 12 of 2000 inputs (0.6 %)"."""
    evaluation = " ".join(overlap.evaluation)
    if overlap.problem:
        return f"{evaluation} was compared with no training split: {overlap.problem}"
    line = (
        f"{' '.join(overlap.training)} and {evaluation} share {overlap.examples} of "
        f"{overlap.size} inputs ({overlap.share:.1%})"
    )
    # Otherwise the second number says nothing that the first does not.
    if overlap.texts > overlap.examples:
        line += f" and {overlap.texts} of {overlap.all_texts} texts ({overlap.text_share:.1%})"
    return line.replace("%", " %")


def hash_inputs(rows: datasets.Dataset, kind: TaskKind) -> InputHashes:
    """The hashes of a split's inputs.

    Args:
        rows: Examples of a split, as `load_split` returns them.
        kind: Kind of the task, which fixes the columns.
    """
    examples: list[bytes] = []
    texts: set[bytes] = set()
    for example, parts in _hashes(rows, kind):
        if example != _EMPTY:
            examples.append(example)
            texts.update(parts)
    return InputHashes(tuple(examples), frozenset(texts - {_EMPTY}), len(rows))


def _hashes(rows: datasets.Dataset, kind: TaskKind) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """The hash of each example's input, and those of the texts in it."""
    if kind is TaskKind.QA:
        before, context = "", _EMPTY
        for question, text in zip(rows["question"][:], rows["context"][:], strict=True):
            if text != before:
                before, context = text, _hash(text)
            yield _joined(_hash(question), context), (context,)
    elif "text_a" in kind.columns:
        for pair in zip(rows["text_a"][:], rows["text_b"][:], strict=True):
            # Sorted: the same two texts are the same example for most tasks, in either order.
            hashes = sorted(map(_hash, pair))
            yield _joined(*hashes), tuple(hashes)
    else:
        texts = map("".join, rows["tokens"][:]) if kind.is_tagging else rows["text"][:]
        for text in texts:
            digest = _hash(text)
            yield digest, (digest,)


def _joined(*hashes: bytes) -> bytes:
    return _EMPTY if set(hashes) == {_EMPTY} else hashlib.blake2b(b"".join(hashes)).digest()[:8]


def _hash(text: str) -> bytes:
    text = unicodedata.normalize("NFKC", text).casefold().translate(_KEPT)
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


class _Kept(dict[int, int | None]):
    r"""What `str.translate` makes of each character: itself, or nothing, as it is met first.

    No regular expression: its `\W` would drop the vowel signs of Indic scripts as well.
    """

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code)) in _DROPPED else code
        return self[code]


_KEPT = _Kept()
# Punctuation, separators, control and format characters.
_DROPPED = {"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp", "Cc", "Cf"}
_EMPTY = hashlib.blake2b(b"", digest_size=8).digest()
