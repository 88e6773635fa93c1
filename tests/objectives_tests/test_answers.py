"""Answers: normalised, scored and read off logits; worked by hand, and by going through all."""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.scores.answers import (
    AnswerWindow,
    best_answer,
    exact_match_and_f1,
    normalise_answer,
)
from spaces.errors import DataError, SpecError
from spaces.task import AnswerNormalisation
from tests.raising import raises

SQUAD, MLQA = AnswerNormalisation.SQUAD, AnswerNormalisation.MLQA


@pytest.mark.parametrize(
    ("normalisation", "language", "text", "expected"),
    [
        (SQUAD, "eng", "  The U.S.\tGovernment, an agency ", ["us", "government", "agency"]),
        (SQUAD, "eng", "Theatre and co-op", ["theatre", "and", "coop"]),
        (SQUAD, "eng", "a_b $5", ["ab", "5"]),
        # Only ASCII's punctuation goes, and other languages lose English articles.
        (SQUAD, "zho", "北京、the 中国", ["北京、", "中国"]),
        (SQUAD, "ara", "الكتاب", ["الكتاب"]),
        (SQUAD, "deu", "Der “Berg”", ["der", "“berg”"]),
        (SQUAD, "tel", "హైదరాబాద్.", ["హైదరాబాద్"]),
        (SQUAD, "eng", "The", []),
        (MLQA, "eng", "The “Berg” — an $8", ["berg", "8"]),
        (MLQA, "deu", "Einer der Berge, eins", ["berge", "eins"]),
        # "uno" and "lo" are no articles to MLQA.
        (MLQA, "spa", "¿El uno y la, las o lo?", ["uno", "y", "o", "lo"]),
        (MLQA, "vie", "Những con của Việt Nam", ["con", "việt", "nam"]),
        # The two letters of the Arabic article go inside of words too: "qal" (he said) is cut.
        (MLQA, "ara", "الكتاب، قال", ["كتاب", "ق"]),
        # The danda is punctuation; vowel signs and the virama stay.
        (MLQA, "hin", "हिन्दी का एक।", ["हिन्दी", "का", "एक"]),
        (MLQA, "zho", "在2008年。Bei jing、", ["在", "2008", "年", "bei", "jing"]),
        (MLQA, "eng", "x a an the y", ["x", "y"]),
        (MLQA, "deu", "x ein eine einen einem eines einer der die das den dem des y", ["x", "y"]),
        (MLQA, "spa", "x un una unos unas el la los las y", ["x", "y"]),
        (MLQA, "vie", "x của là cái chiếc những y", ["x", "y"]),
        # Han only up to U+9FA5, as in MLQA: the one after it stands with its neighbours.
        (MLQA, "zho", "龥龦a", ["龥", "龦a"]),
    ],
)
def test_answers_are_normalised(
    normalisation: AnswerNormalisation, language: str, text: str, expected: list[str]
) -> None:
    assert normalise_answer(text, normalisation, language) == expected


def test_a_language_that_mlqa_lacks_is_said() -> None:
    with raises(SpecError, expected="(ara, deu, ", found="'swa'", advice="squad"):
        normalise_answer("mji", MLQA, "swa")


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ([["Paris"]], ["the paris!"], (1.0, 1.0)),
        # 2 of 3 tokens found, all 2 right: 2 * 2 / (3 + 2).
        ([["New York City"]], ["New York"], (0.0, 0.8)),
        # The best gold answer counts, for each of the two scores by itself.
        ([["New York City", "York"]], ["New York"], (0.0, 0.8)),
        ([["York", "New York"]], ["New York"], (1.0, 1.0)),
        # A repeated token is shared as often as on the side with fewer: 2 * 1 / (2 + 1).
        ([["tut tut"]], ["tut"], (0.0, 2 / 3)),
        ([["tut"]], ["ouch"], (0.0, 0.0)),
        # The mean over questions: (1 + 0 + 0) / 3 and (1 + 1/2 + 0) / 3.
        ([["x"], ["y z"], ["w"]], ["x", "y q", ""], (1 / 3, 0.5)),
        # No answer: right if nothing is predicted, or nothing that counts.
        ([[], [], []], ["", "the", "x"], (2 / 3, 2 / 3)),
        # Nothing that counts on both sides is an exact match without a shared token.
        ([["The"]], ["an"], (1.0, 0.0)),
    ],
)
def test_scores_worked_by_hand(
    gold: list[list[str]], predicted: list[str], expected: tuple[float, float]
) -> None:
    assert exact_match_and_f1(gold, predicted, SQUAD, "eng") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("language", "gold", "predicted", "expected"),
    [
        # 北 京 市 against 北 京: 2 * 2 / (3 + 2); by SQuAD's rule the words would share nothing.
        ("zho", "北京市", "北京", (0.0, 0.8)),
        ("ara", "الكتاب", "كتاب", (1.0, 1.0)),
        ("hin", "ताज महल।", "ताज महल", (1.0, 1.0)),
        ("vie", "của Việt Nam", "Việt", (0.0, 2 / 3)),
    ],
)
def test_mlqa_scores_by_the_language(
    language: str, gold: str, predicted: str, expected: tuple[float, float]
) -> None:
    assert exact_match_and_f1([[gold]], [predicted], MLQA, language) == pytest.approx(expected)


def test_only_answers_to_all_questions_are_scored() -> None:
    with raises(DataError, expected="2 answers", found="1"):
        exact_match_and_f1([["x"], ["y"]], ["x"], SQUAD, "eng")
    with raises(DataError, expected="gold answers", found="none"):
        exact_match_and_f1([], [], SQUAD, "eng")
    with raises(DataError, expected="gold answers", advice="not hidden"):
        # Its type says that there are answers; that is what the caller got wrong.
        exact_match_and_f1([["x"], None], ["x", "y"], SQUAD, "eng")
    with pytest.raises(TypeError, match="expected a list of answers per question, found 'Paris'"):
        exact_match_and_f1(["Paris"], ["Paris"], SQUAD, "eng")


WORDS = st.lists(st.sampled_from(["The", "a", "red.", "Red", "fox", "—", "x-y"]), max_size=5)
TEXTS = WORDS.map(" ".join)


@given(st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), TEXTS), min_size=1))
def test_scores_are_those_of_the_definition(rows: list[tuple[list[str], str]]) -> None:
    def tokens(text: str) -> list[str]:
        kept = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(the|an|a)\b", " ", kept).split()

    def f1(gold: str, found: str) -> float:
        shared = (Counter(tokens(gold)) & Counter(tokens(found))).total()
        if not shared:
            return 0.0
        precision, recall = shared / len(tokens(found)), shared / len(tokens(gold))
        return 2 * precision * recall / (precision + recall)

    exact = [any(tokens(g) == tokens(found) for g in gold) for gold, found in rows]
    overlap = [max(f1(g, found) for g in gold) for gold, found in rows]
    assert exact_match_and_f1(
        [gold for gold, _ in rows], [found for _, found in rows], SQUAD, "eng"
    ) == pytest.approx((np.mean(exact), np.mean(overlap)))


CONTEXT = "Mji mkuu ni Dodoma."
# CLS, two sub-words of the question, SEP, then: Mji, mkuu, ni, Dodo, ma, the full stop; SEP.
OFFSETS = [(-1, -1)] * 4 + [(0, 3), (4, 8), (9, 11), (12, 16), (16, 18), (18, 19), (-1, -1)]


def window(
    starts: dict[int, float], ends: dict[int, float], offsets: list[tuple[int, int]] = OFFSETS
) -> AnswerWindow:
    """A window whose logits are -5 but at these positions."""
    logits = np.full((2, len(offsets)), -5, dtype=np.float32)
    for side, values in enumerate([starts, ends]):
        for position, value in values.items():
            logits[side, position] = value
    return AnswerWindow(logits[0], logits[1], np.array(offsets))


def test_no_answer_outside_of_the_context_backwards_or_too_long() -> None:
    # The question's sub-words and SEP score most; next is 8..7, which ends before it starts.
    logits = window({1: 9, 4: 3, 8: 4}, {2: 9, 7: 5, 10: 9})
    assert best_answer([logits], CONTEXT, null_allowed=False) == "Mji mkuu ni Dodo"
    # 4..7 (3 + 5) are four sub-words. Of three at most, 5..7 and 6..7 and 7..7 (-5 + 5) are best,
    # and 5..7 starts first.
    short = best_answer([logits], CONTEXT, null_allowed=False, max_answer_length=3)
    assert short == "mkuu ni Dodo"
    just = best_answer([logits], CONTEXT, null_allowed=False, max_answer_length=4)
    assert just == "Mji mkuu ni Dodo"


def test_the_null_score_is_where_the_backbone_puts_cls() -> None:
    logits = window({0: 9, 4: 1, 10: -1}, {0: 9, 4: 1, 10: -1})
    last = AnswerWindow(logits.start_logits, logits.end_logits, logits.offsets, null_position=10)
    assert best_answer([logits], CONTEXT, null_allowed=True) == ""
    assert best_answer([last], CONTEXT, null_allowed=True) == "Mji"


def test_only_the_n_best_starts_and_ends_are_combined() -> None:
    # Alone, the best start (8) comes after the best end (5): no span. With two of each, 4..5.
    logits = window({8: 9, 4: 1}, {5: 9, 7: 1})
    assert best_answer([logits], CONTEXT, null_allowed=False, n_best=1) == ""
    assert best_answer([logits], CONTEXT, null_allowed=False, n_best=2) == "Mji mkuu"


def test_space_is_no_answer() -> None:
    # XLM-R has sub-words of nothing but a space, and of a space and a word.
    logits = window({0: 5, 1: 1}, {0: 5, 1: 1}, [(2, 3), (3, 6)])
    assert best_answer([logits], "Ni  mji", null_allowed=False) == "mj"
    assert best_answer([window({0: 1}, {0: 1}, [(2, 4)])], "Ni  mji", null_allowed=False) == ""


def test_sub_words_that_share_a_character_have_an_order_too() -> None:
    # Byte-level sub-words (RoBERTa) are parts of one letter. 1..0 ends before it starts.
    logits = window({1: 5}, {0: 5, 2: 4}, [(0, 1), (0, 1), (1, 2)])
    assert best_answer([logits], "ጥቁር", null_allowed=False) == "ጥቁ"


def test_no_span_is_no_answer() -> None:
    assert best_answer([], CONTEXT, null_allowed=True) == ""
    assert best_answer([], CONTEXT, null_allowed=False) == ""
    question_only = window({0: 1}, {1: 1}, [(-1, -1)] * 3)
    assert best_answer([question_only], CONTEXT, null_allowed=False) == ""
    assert best_answer([question_only, window({4: 1}, {4: 1})], CONTEXT, null_allowed=False)


def test_logits_must_fit_the_offsets() -> None:
    logits = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"logits for 2 sub-words, found \(3,\) and \(3,\)"):
        AnswerWindow(logits, logits, np.zeros((2, 2), dtype=np.int64))


@settings(deadline=None)
@given(st.data())
def test_the_answer_is_the_best_of_all_spans(data: st.DataObject) -> None:
    """Small integers, so that ties are common."""
    context = "ጥቁር ድመት አለች ใน บ้าน 房子里有黑猫"
    count = data.draw(st.integers(1, 3))
    longest = data.draw(st.integers(1, 6))
    windows, spans, nulls = [], [], []
    for number in range(count):
        first = data.draw(st.integers(0, len(context) - 6))
        offsets = [(-1, -1), (-1, -1), *((at, at + 1) for at in range(first, first + 6)), (-1, -1)]
        values = st.lists(st.integers(-3, 3), min_size=len(offsets), max_size=len(offsets))
        starts, ends = data.draw(values), data.draw(values)
        windows.append(
            AnswerWindow(
                np.array(starts, dtype=np.float32),
                np.array(ends, dtype=np.float32),
                np.array(offsets),
            )
        )
        nulls.append(starts[0] + ends[0])
        for start in range(2, len(offsets) - 1):
            for end in range(start, min(start + longest, len(offsets) - 1)):
                text = context[offsets[start][0] : offsets[end][1]].strip()
                if text:
                    spans.append((-(starts[start] + ends[end]), number, start, end, text))
    score, *_, text = min(spans)
    allowed = data.draw(st.booleans())
    expected = "" if allowed and min(nulls) > -score else text
    assert (
        best_answer(windows, context, null_allowed=allowed, max_answer_length=longest) == expected
    )
