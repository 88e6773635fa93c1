"""The ledger, on every kind of database: one suite for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import sqlalchemy as sa

from storage.backends import open_storage
from storage.ledger import Ledger, PairedScore, Score, StageRun

SCORE = Score(
    checkpoint_key="a" * 64,
    corpus_key="c" * 64,
    task="panx",
    language="swa",
    split="validation",
    metric="span_f1",
    score=0.1 + 0.2,
    examples=100,
    lost_words=3,
    unscored_examples=1,
)
BASELINE = replace(SCORE, checkpoint_key="b" * 64, score=0.25)
RUN = StageRun(
    seed=0,
    position="intermediate",
    task="e_ner",
    checkpoint_key="a" * 64,
    parent_key="d" * 64,
    reused=False,
    updates=150,
    seconds=12.5,
    device="cpu (1 threads)",
    precision="float32",
    versions={"torch": "2.13.0"},
)


@pytest.fixture
def engine(storage_url: str) -> Iterator[sa.Engine]:
    storage = open_storage(storage_url)
    yield storage.engine
    storage.engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    return Ledger(engine)


def record_pair(ledger: Ledger, *, study: str = "s", trial: int = 0) -> None:
    ledger.record_scores([SCORE, BASELINE])
    ledger.record_trial(study, trial, [PairedScore(0, SCORE, BASELINE)], [RUN])


def test_scores_come_back_as_they_went_in(ledger: Ledger, engine: sa.Engine) -> None:
    other = replace(SCORE, language="yor", score=-1.0)
    ledger.record_scores([SCORE, other, replace(SCORE, split="test"), BASELINE])
    expected = {("panx", "swa", "c" * 64): SCORE, ("panx", "yor", "c" * 64): other}
    assert Ledger(engine).scores("a" * 64, "validation") == expected
    assert ledger.scores("a" * 64, "test") == {
        ("panx", "swa", "c" * 64): replace(SCORE, split="test")
    }
    assert ledger.scores("f" * 64, "validation") == {}


def test_a_score_that_is_there_stays_as_it_is(ledger: Ledger) -> None:
    ledger.record_scores([SCORE])
    ledger.record_scores([replace(SCORE, score=0.9), replace(SCORE, language="yor")])
    assert ledger.scores("a" * 64, "validation").keys() == {
        ("panx", "swa", "c" * 64),
        ("panx", "yor", "c" * 64),
    }
    assert ledger.scores("a" * 64, "validation")["panx", "swa", "c" * 64] == SCORE


@pytest.mark.parametrize("field", ["checkpoint_key", "corpus_key", "task", "language", "split"])
def test_scores_of_other_examples_or_models_stand_apart(ledger: Ledger, field: str) -> None:
    change: dict[str, Any] = {field: "x" * 3}
    other = replace(SCORE, **change, score=0.5)
    ledger.record_scores([SCORE, other])
    found = {
        **ledger.scores(SCORE.checkpoint_key, SCORE.split),
        **ledger.scores(other.checkpoint_key, other.split),
    }
    assert SCORE in found.values() or field in {"checkpoint_key", "split"}
    assert other in found.values()


def test_the_first_definition_of_a_study_stays(ledger: Ledger) -> None:
    assert ledger.frozen_study("s") is None
    first = {"arms": ["none", "legal"], "rate": 1e-5, "question": "Häufig?"}
    assert ledger.freeze_study("s", first) == first
    assert ledger.freeze_study("s", {"arms": []}) == first
    assert ledger.frozen_study("s") == first
    assert ledger.freeze_study("other", {"arms": []}) == {"arms": []}


def test_a_trial_comes_back_with_its_scores_and_stages(ledger: Ledger) -> None:
    record_pair(ledger)
    (pair,) = ledger.pairs("s")[0]
    assert pair == PairedScore(0, SCORE, BASELINE)
    assert pair.gain == pytest.approx(5.0)
    assert ledger.stage_runs("s") == {0: [RUN]}
    assert ledger.pairs("other") == {}
    assert ledger.stage_runs("other") == {}


def test_a_trial_is_recorded_once(ledger: Ledger) -> None:
    record_pair(ledger)
    record_pair(ledger)
    late = replace(SCORE, checkpoint_key="e" * 64)
    ledger.record_scores([late])
    ledger.record_trial("s", 0, [PairedScore(1, late, BASELINE)], [RUN, RUN])
    assert ledger.pairs("s") == {0: [PairedScore(0, SCORE, BASELINE)]}
    assert ledger.stage_runs("s") == {0: [RUN]}


def test_a_trial_is_recorded_whole_or_not_at_all(ledger: Ledger) -> None:
    ledger.record_scores([SCORE, BASELINE])
    broken = replace(RUN, updates=None)  # type: ignore[arg-type]
    with pytest.raises(sa.exc.IntegrityError):
        ledger.record_trial("s", 0, [PairedScore(0, SCORE, BASELINE)], [RUN, broken])
    assert ledger.pairs("s") == {}
    assert ledger.stage_runs("s") == {}
    record_pair(ledger)
    assert ledger.stage_runs("s") == {0: [RUN]}


def test_pairs_join_what_the_search_saw_and_nothing_else(ledger: Ledger) -> None:
    """The same checkpoints have scores on test and on other examples, too."""
    changes: list[dict[str, Any]] = [
        {"split": "test"},
        {"corpus_key": "9" * 64},
        {"task": "masakhaner"},
    ]
    near = [
        replace(score, **change, score=0.99) for score in (SCORE, BASELINE) for change in changes
    ]
    ledger.record_scores(near)
    record_pair(ledger)
    assert ledger.pairs("s") == {0: [PairedScore(0, SCORE, BASELINE)]}


def test_a_trial_without_an_intermediate_stage_has_no_gain(ledger: Ledger) -> None:
    ledger.record_scores([BASELINE])
    ledger.record_trial("s", 4, [PairedScore(0, BASELINE, BASELINE)], [RUN])
    (pair,) = ledger.pairs("s")[4]
    assert pair.gain == 0.0


def test_pairs_are_in_the_order_of_trials_seeds_tasks_and_languages(ledger: Ledger) -> None:
    places = [
        (seed, task, language)
        for seed in (0, 1)
        for task in ("panx", "udpos")
        for language in ("swa", "yor")
    ]
    pairs = [
        PairedScore(
            seed,
            *(
                replace(score, checkpoint_key=f"{seed}{name}", task=task, language=language)
                for name, score in (("own", SCORE), ("base", BASELINE))
            ),
        )
        for seed, task, language in places
    ]
    ledger.record_scores([score for pair in pairs for score in (pair.score, pair.baseline)])
    for trial in (10, 2):
        runs = [replace(RUN, seed=seed) for seed in (1, 0)]
        ledger.record_trial("s", trial, pairs[::-1], runs)
    found = ledger.pairs("s")
    assert list(found) == list(ledger.stage_runs("s")) == [2, 10]
    assert found[2] == found[10] == pairs
    assert [run.seed for run in ledger.stage_runs("s")[2]] == [1, 0], "as the trial ran them"


def test_forgetting_a_study_keeps_scores_and_other_studies(ledger: Ledger) -> None:
    for study in ("s", "other"):
        ledger.freeze_study(study, {"study": study})
        record_pair(ledger, study=study)
    ledger.forget_study("s")
    assert ledger.frozen_study("s") is None
    assert ledger.pairs("s") == {}
    assert ledger.stage_runs("s") == {}
    assert ledger.scores(SCORE.checkpoint_key, "validation")
    assert ledger.frozen_study("other") == {"study": "other"}
    assert ledger.pairs("other") == {0: [PairedScore(0, SCORE, BASELINE)]}


def test_two_processes_that_record_the_same_at_once_both_succeed(
    storage_url: str, ledger: Ledger, run_together: Callable[..., list[str]]
) -> None:
    script = f"""
from storage.backends import open_storage
from storage.ledger import Ledger, PairedScore, Score, StageRun
storage = open_storage(sys.argv[2])
ledger = Ledger(storage.engine)
fields = {same_fields(SCORE)!r}
scores = [(Score(f"own{{i}}", *fields), Score(f"base{{i}}", *fields)) for i in range(40)]
together()
first = ledger.freeze_study("s", {{"by": int(sys.argv[1])}})
for trial, (own, base) in enumerate(scores):
    ledger.record_scores([own, base])
    ledger.record_trial("s", trial, [PairedScore(0, own, base)], [{RUN!r}])
print(first["by"])
storage.engine.dispose()
"""
    first, second = run_together(script, storage_url)
    assert first == second
    assert ledger.frozen_study("s") == {"by": int(first)}
    assert {trial: len(pairs) for trial, pairs in ledger.pairs("s").items()} == dict.fromkeys(
        range(40), 1
    )
    assert {trial: len(runs) for trial, runs in ledger.stage_runs("s").items()} == dict.fromkeys(
        range(40), 1
    )


def same_fields(score: Score) -> list[object]:
    """All but the checkpoint's key."""
    return [getattr(score, field.name) for field in fields(Score)[1:]]
