"""Answers to questions: made comparable, scored, and read off a model's logits.

Scores are those of the two scripts that XTREME scores with (Hu et al. 2020,
https://github.com/google-research/xtreme/blob/master/evaluate.py): SQuAD 1.1's for XQuAD and
TyDiQA-GoldP, and MLQA's for MLQA. They differ in what they make of an answer's text.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from spaces.errors import DataError, SpecError
from spaces.task import AnswerNormalisation

# What MLQA takes for articles: https://github.com/facebookresearch/MLQA, mlqa_evaluation_v1.py
# at 5ef5c73. The Arabic one is a prefix, and MLQA drops its two letters wherever they stand.
_ARTICLES = {
    "ara": re.compile("ال"),
    **{
        language: re.compile(rf"\b(?:{'|'.join(words.split())})\b")
        for language, words in {
            "deu": "ein eine einen einem eines einer der die das den dem des",
            "eng": "a an the",
            "spa": "un una unos unas el la los las",
            "vie": "của là cái chiếc những",
        }.items()
    },
    "hin": None,
    "zho": None,
}
_HAN = re.compile("([\u4e00-\u9fa5])")
"""The characters that are tokens by themselves in Chinese, MLQA's range."""
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class AnswerWindow:
    """Logits of a model for one window over a question and its context.

    Attributes:
        start_logits: Logits of the answer's first sub-word, [s].
        end_logits: Logits of the answer's last sub-word, [s].
        offsets: Characters of the context that each sub-word stands for, [s, 2], the end
            exclusive; -1 outside of the context (question, special sub-words, padding).
        null_position: Place of the logits for "no answer": that of the CLS sub-word.

    Raises:
        ValueError: The shapes do not fit each other.
    """

    start_logits: NDArray[np.float32]
    end_logits: NDArray[np.float32]
    offsets: NDArray[np.int64]
    null_position: int = 0

    def __post_init__(self) -> None:
        size = len(self.offsets)
        if not (self.start_logits.shape == self.end_logits.shape == (size,)):
            raise ValueError(
                f"expected logits for {size} sub-words, found {self.start_logits.shape} and "
                f"{self.end_logits.shape}"
            )

    @property
    def null_score(self) -> float:
        """Sum of the two logits for "no answer"."""
        place = self.null_position
        return float(self.start_logits[place]) + float(self.end_logits[place])


def normalise_answer(text: str, normalisation: AnswerNormalisation, language: str) -> list[str]:
    """The tokens of an answer that count when it is compared.

    Both ways put it in lower case, then drop punctuation, then articles, then split on white
    space. SQUAD (Rajpurkar et al. 2016, https://aclanthology.org/D16-1264) does so with ASCII
    punctuation and English articles, whatever the language. MLQA (Lewis et al. 2020,
    https://aclanthology.org/2020.acl-main.653) drops Unicode's punctuation and the
    language's own articles, and in Chinese makes a token of each Han character.

    Args:
        text: An answer.
        normalisation: Whose.
        language: ISO 639-3 code of the answer's language, which is the context's; of no matter
            to SQUAD.

    Raises:
        SpecError: MLQA does not say how this language is normalised.
    """
    text = text.lower()
    if normalisation is AnswerNormalisation.SQUAD:
        articles = _ARTICLES["eng"]
        text = text.translate(_ASCII_PUNCTUATION)
    elif language in _ARTICLES:
        articles = _ARTICLES[language]
        text = "".join(character for character in text if not _is_punctuation(character))
    else:
        raise SpecError(
            "answers",
            f"a language that MLQA's normalisation knows ({', '.join(_ARTICLES)})",
            f"{language!r}",
            "use the squad normalisation",
        )
    if articles is not None:
        text = articles.sub(" ", text)
    if normalisation is AnswerNormalisation.MLQA and language == "zho":
        text = _HAN.sub(r" \1 ", text)
    return text.split()


def exact_match_and_f1(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[str],
    normalisation: AnswerNormalisation,
    language: str,
) -> tuple[float, float]:
    """Share of the questions answered exactly, and the mean F1 of the answers' tokens.

    A question counts with the gold answer that is best for it. One without any is right if the
    prediction has no tokens (SQuAD 2.0, Rajpurkar et al. 2018,
    https://aclanthology.org/P18-2124). As in XTREME, answers of no tokens on both sides match
    exactly and have F1 0, if the question has a gold answer at all ("The" and "a").

    Args:
        gold: The answers that are right, per question; none if there is no answer.
        predicted: One answer per question, empty for "no answer".
        normalisation: Way in which answers are made comparable.
        language: ISO 639-3 code of the contexts.

    Returns:
        Exact match and F1, in [0, 1].

    Raises:
        DataError: Nothing to score, hidden answers, or lengths that differ.
        SpecError: MLQA does not say how this language is normalised.
    """
    if not gold or any(answers is None for answers in gold):
        raise DataError(
            "scoring", "gold answers", "none", "name a source in which they are not hidden"
        )
    if len(gold) != len(predicted):
        raise DataError("scoring", f"{len(gold)} answers", str(len(predicted)))
    exact = f1 = 0.0
    for answers, answer in zip(gold, predicted, strict=True):
        if isinstance(answers, str):  # would be scored letter by letter
            raise TypeError(f"gold: expected a list of answers per question, found {answers!r}")
        normalised = normalise_answer(answer, normalisation, language)
        right = [normalise_answer(one, normalisation, language) for one in answers]
        if right:
            exact += normalised in right
            f1 += max(_token_f1(one, normalised) for one in right)
        else:
            exact += not normalised
            f1 += not normalised
    return exact / len(gold), f1 / len(gold)


def best_answer(
    windows: Sequence[AnswerWindow],
    context: str,
    *,
    null_allowed: bool,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> str:
    """The answer that the windows of one question agree on.

    The score of a span is the sum of its start and end logits, and the best span of all windows
    wins; of equal ones the one of the first window, then the one that starts, then ends first.
    The defaults are XTREME's (third_party/run_squad.py). Unlike there, the n best starts and ends
    are those within the context, so that high logits on the question do not crowd them out, and a
    span counts in each window it stands in, not only in that where it has the most context.

    Args:
        windows: Windows of one question, in order.
        context: Text that the offsets refer to.
        null_allowed: Whether "no answer" is an answer: if the least null score of all windows
            exceeds the score of the best span, as in SQuAD 2.0's baselines
            (https://github.com/google-research/bert/blob/master/run_squad.py).
        n_best: Starts and ends per window that are combined.
        max_answer_length: Longest span, in sub-words.

    Returns:
        Text of the context without white space around it; empty for "no answer", or if no span
        is possible.
    """
    best_score, best_text = -np.inf, ""
    for window in windows:
        for score, start, end in _spans(window, n_best, max_answer_length):
            if score <= best_score:
                break
            # Sub-words of nothing but a space (XLM-R's "▁") are no answer; try the next span.
            if text := context[start:end].strip():
                best_score, best_text = score, text
                break
    if null_allowed and windows and min(window.null_score for window in windows) > best_score:
        return ""
    return best_text


def _spans(
    window: AnswerWindow, n_best: int, max_answer_length: int
) -> Iterator[tuple[float, int, int]]:
    """Score and characters of the possible spans, best first; ties in reading order."""
    inside = np.flatnonzero(window.offsets[:, 0] >= 0)
    starts = _largest(window.start_logits, inside, n_best)
    ends = _largest(window.end_logits, inside, n_best)
    lengths = ends[None, :] - starts[:, None] + 1
    # In double precision no two sums are rounded to one.
    scores = (
        window.start_logits[starts].astype(np.float64)[:, None]
        + window.end_logits[ends].astype(np.float64)[None, :]
    )
    rows, columns = np.nonzero((lengths >= 1) & (lengths <= max_answer_length))
    for place in np.argsort(-scores[rows, columns], kind="stable"):
        row, column = rows[place], columns[place]
        start, end = window.offsets[starts[row], 0], window.offsets[ends[column], 1]
        yield float(scores[row, column]), int(start), int(end)


def _largest(
    logits: NDArray[np.float32], positions: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Those of `positions` with the `count` largest logits, in order of position."""
    order = np.argsort(-logits[positions], kind="stable")[:count]
    return np.sort(positions[order])


def _token_f1(gold: list[str], predicted: list[str]) -> float:
    shared = (Counter(gold) & Counter(predicted)).total()
    return 2 * shared / (len(gold) + len(predicted)) if shared else 0.0


@cache
def _is_punctuation(character: str) -> bool:
    """MLQA's: Unicode's categories P*, and ASCII's symbols with them ($ + < = > ^ ` | ~)."""
    return unicodedata.category(character).startswith("P") or character in string.punctuation
