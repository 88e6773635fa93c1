"""The ledger, on every kind of database: one suite for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import sqlalchemy as sa

from storage.leases import Lease, LeaseLost, Leases
from storage.ledger import Ledger
from storage.study_rows import has_rows, rename_rows
from storage.tables import PairedScore, Score, StageRun, TrainedStage
from tests.storage_tests.conftest import expire_leases, never

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
STAGE = TrainedStage(
    checkpoint_key="a" * 64,
    parent_key="d" * 64,
    task="panx",
    updates=150,
    training_seconds=12.5,
    scoring_seconds=0.1 + 0.2,
    device="cpu (1 threads)",
    precision="float32",
    versions={"torch": "2.13.0"},
)
BASELINE_STAGE = replace(STAGE, checkpoint_key="b" * 64, parent_key="e" * 64)
RUN = StageRun(
    seed=0,
    position="intermediate",
    task="e_ner",
    checkpoint_key="a" * 64,
    updates_asked=150,
    updates_trained=50,
    training_seconds=4.25,
    scoring_seconds=0.0,
    finished=True,
)


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    return Ledger(engine)


def record_pair(ledger: Ledger, *, study: str = "s", trial: int = 0) -> None:
    ledger.record_stage(STAGE, [SCORE])
    ledger.record_stage(BASELINE_STAGE, [BASELINE])
    ledger.record_stage_run(study, trial, RUN)
    ledger.record_trial(study, trial, [PairedScore(0, SCORE, BASELINE, BASELINE)])


# --- scores and stages


def test_scores_come_back_as_they_went_in(ledger: Ledger, engine: sa.Engine) -> None:
    other = replace(SCORE, language="yor", score=-1.0)
    ledger.record_stage(STAGE, [SCORE, other, replace(SCORE, split="test")])
    ledger.record_stage(BASELINE_STAGE, [BASELINE])
    expected = {("panx", "swa", "c" * 64): SCORE, ("panx", "yor", "c" * 64): other}
    assert Ledger(engine).scores("a" * 64, "validation") == expected
    assert ledger.scores("a" * 64, "test") == {
        ("panx", "swa", "c" * 64): replace(SCORE, split="test")
    }
    assert ledger.scores("f" * 64, "validation") == {}


def test_what_is_there_of_a_stage_stays_and_what_is_new_is_added(ledger: Ledger) -> None:
    ledger.record_stage(STAGE, [SCORE])
    ledger.record_stage_run("s", 0, RUN)
    later = replace(STAGE, training_seconds=99.0)
    yoruba = replace(SCORE, language="yor")
    ledger.record_stage(later, [replace(SCORE, score=0.9), yoruba])
    assert ledger.scores("a" * 64, "validation") == {
        ("panx", "swa", "c" * 64): SCORE,
        ("panx", "yor", "c" * 64): yoruba,
    }
    assert ledger.trained_stages("s") == {"a" * 64: STAGE}


@pytest.mark.parametrize("field", ["corpus_key", "task", "language", "split"])
def test_scores_of_other_examples_stand_apart(ledger: Ledger, field: str) -> None:
    change: dict[str, Any] = {field: "x" * 3}
    other = replace(SCORE, **change, score=0.5)
    ledger.record_stage(STAGE, [SCORE, other])
    found = {
        **ledger.scores(SCORE.checkpoint_key, SCORE.split),
        **ledger.scores(other.checkpoint_key, other.split),
    }
    assert SCORE in found.values() or field == "split"
    assert other in found.values()


def test_the_scores_of_a_stage_are_kept_all_or_none(ledger: Ledger) -> None:
    broken = replace(SCORE, language="yor", score=None)  # type: ignore[arg-type]
    with pytest.raises(sa.exc.IntegrityError):
        ledger.record_stage(STAGE, [SCORE, broken])
    assert ledger.scores("a" * 64, "validation") == {}
    ledger.record_stage(STAGE, [SCORE])
    assert len(ledger.scores("a" * 64, "validation")) == 1


def test_a_study_knows_what_the_stages_it_needed_took(ledger: Ledger) -> None:
    """Also one that another study trained, and none that only the other one needed."""
    ledger.record_stage(STAGE, ())
    ledger.record_stage(BASELINE_STAGE, [BASELINE])
    ledger.record_stage_run("other", 3, RUN)
    ledger.record_stage_run("other", 3, replace(RUN, checkpoint_key="b" * 64))
    ledger.record_stage_run("s", 0, replace(RUN, updates_trained=0))
    ledger.record_stage_run("s", 1, replace(RUN, checkpoint_key="9" * 64, finished=False))
    assert ledger.trained_stages("s") == {"a" * 64: STAGE}
    assert ledger.trained_stages("other") == {"a" * 64: STAGE, "b" * 64: BASELINE_STAGE}
    assert ledger.trained_stages("unknown") == {}


def test_scores_are_kept_under_the_lease_and_not_once_it_is_lost(
    ledger: Ledger, engine: sa.Engine
) -> None:
    leases = Leases(engine)

    def make(lease: Lease) -> str:
        ledger.record_stage(BASELINE_STAGE, [BASELINE], lease)
        expire_leases(engine)
        assert leases.once("a" * 64, lambda: None, lambda _: "the other's", never)
        with pytest.raises(LeaseLost):
            ledger.record_stage(STAGE, [SCORE, replace(SCORE, language="yor")], lease)
        return "nothing"

    leases.once("a" * 64, lambda: None, make, never)
    assert list(ledger.scores("b" * 64, "validation").values()) == [BASELINE]
    assert ledger.scores("a" * 64, "validation") == {}


# --- studies and trials


def test_the_first_definition_of_a_study_stays(ledger: Ledger) -> None:
    assert ledger.frozen_study("s") is None
    first = {"arms": ["none", "legal"], "rate": 1e-5, "question": "Häufig?"}
    assert ledger.freeze_study("s", first) == first
    assert ledger.freeze_study("s", {"arms": []}) == first
    assert ledger.frozen_study("s") == first
    assert ledger.freeze_study("other", {"arms": []}) == {"arms": []}


def test_a_trial_comes_back_with_its_scores_and_stages(ledger: Ledger) -> None:
    record_pair(ledger)
    (pair,) = ledger.pairs("s", "validation")[0]
    assert pair == PairedScore(0, SCORE, BASELINE, BASELINE)
    assert pair.gain == pytest.approx(5.0)
    assert replace(pair, score=BASELINE).gain == 0.0, "no intermediate stage"
    assert ledger.stage_runs("s") == {0: [RUN]}
    assert ledger.pairs("other", "validation") == {}
    assert ledger.stage_runs("other") == {}


def test_a_run_of_a_search_comes_back_without_what_it_was_held_against(ledger: Ledger) -> None:
    """The mean over the baseline's seeds is no score of a checkpoint; it is kept with it."""
    ledger.record_stage(STAGE, [SCORE])
    mean = replace(BASELINE, checkpoint_key="")
    for trial, pair in enumerate((PairedScore(4, SCORE), PairedScore(5, SCORE, mean))):
        ledger.record_trial("s", trial, [pair])
    assert ledger.pairs("s", "validation") == {
        0: [PairedScore(4, SCORE)],
        1: [PairedScore(5, SCORE)],
    }


def test_a_trial_is_recorded_once(ledger: Ledger) -> None:
    record_pair(ledger)
    ledger.record_trial("s", 0, [PairedScore(0, SCORE, BASELINE, BASELINE)])
    late = replace(SCORE, checkpoint_key="e" * 64)
    ledger.record_stage(replace(STAGE, checkpoint_key="e" * 64), [late])
    ledger.record_trial("s", 0, [PairedScore(0, late, BASELINE, BASELINE)])
    assert ledger.pairs("s", "validation") == {0: [PairedScore(0, SCORE, BASELINE, BASELINE)]}


def test_a_trial_is_recorded_whole_or_not_at_all(ledger: Ledger) -> None:
    ledger.record_stage(STAGE, [SCORE])
    ledger.record_stage(BASELINE_STAGE, [BASELINE])
    broken = replace(SCORE, corpus_key=None)  # type: ignore[arg-type]
    pairs = [PairedScore(0, SCORE, BASELINE, BASELINE), PairedScore(1, broken, BASELINE, BASELINE)]
    with pytest.raises(sa.exc.IntegrityError):
        ledger.record_trial("s", 0, pairs)
    assert ledger.pairs("s", "validation") == {}
    record_pair(ledger)
    assert ledger.pairs("s", "validation") == {0: [PairedScore(0, SCORE, BASELINE, BASELINE)]}


def test_a_stage_run_is_kept_as_soon_as_it_is_known(ledger: Ledger, engine: sa.Engine) -> None:
    """What a trial that never ends well trained is counted, too."""
    lost = replace(RUN, finished=False, updates_trained=7)
    ledger.record_stage_run("s", 0, lost)
    ledger.record_stage_run("s", 0, RUN)
    assert Ledger(engine).stage_runs("s") == {0: [lost, RUN]}
    assert ledger.pairs("s", "validation") == {}


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
    record_pair(ledger)
    for score in near:
        ledger.record_stage(replace(STAGE, checkpoint_key=score.checkpoint_key), [score])
    assert ledger.pairs("s", "validation") == {0: [PairedScore(0, SCORE, BASELINE, BASELINE)]}


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
                for name, score in (("own", SCORE), ("reference", BASELINE), ("base", BASELINE))
            ),
        )
        for seed, task, language in places
    ]
    for pair in pairs:
        for score in (pair.score, pair.baseline, pair.reference):
            assert score is not None
            ledger.record_stage(replace(STAGE, checkpoint_key=score.checkpoint_key), [score])
    for seed in (1, 0):
        for trial in (10, 2):
            ledger.record_stage_run("s", trial, replace(RUN, seed=seed))
    for trial in (10, 2):
        ledger.record_trial("s", trial, pairs[::-1])
    found = ledger.pairs("s", "validation")
    assert list(found) == list(ledger.stage_runs("s")) == [2, 10]
    assert found[2] == found[10] == pairs
    assert [run.seed for run in ledger.stage_runs("s")[2]] == [1, 0], "as the trial ran them"


def test_a_study_is_renamed_in_all_tables_and_other_studies_stay(
    ledger: Ledger, engine: sa.Engine
) -> None:
    for study in ("s", "other"):
        ledger.freeze_study(study, {"study": study})
        record_pair(ledger, study=study)
    rename_rows(engine, {"s": "new"})
    assert ledger.frozen_study("s") is None
    assert ledger.frozen_study("new") == {"study": "s"}
    assert not has_rows(engine, "s")
    for study in ("new", "other"):
        assert ledger.trained_stages(study) == {STAGE.checkpoint_key: STAGE}
        found = ledger.pairs(study, "validation")
        assert found == {0: [PairedScore(0, SCORE, BASELINE, BASELINE)]}


def test_two_processes_that_record_the_same_at_once_both_succeed(
    storage_url: str, ledger: Ledger, run_together: Callable[..., list[str]]
) -> None:
    script = f"""
from dataclasses import replace
storage = open_storage(sys.argv[2])
ledger = Ledger(storage.engine)
score, stage = {same_fields(SCORE)!r}, {same_fields(STAGE)!r}
together()
first = ledger.freeze_study("s", {{"by": int(sys.argv[1])}})
for trial in range(40):
    own, base = Score(f"own{{trial}}", *score), Score(f"base{{trial}}", *score)
    for one in (own, base):
        mine = replace(one, language=sys.argv[1])
        ledger.record_stage(TrainedStage(one.checkpoint_key, *stage), [one, mine])
    ledger.record_trial("s", trial, [PairedScore(0, own, base, base)])
print(first["by"])
storage.engine.dispose()
"""
    first, second = run_together(script, storage_url)
    assert first == second
    assert ledger.frozen_study("s") == {"by": int(first)}
    for key in (f"{name}{trial}" for name in ("own", "base") for trial in range(40)):
        languages = {language for _, language, _ in ledger.scores(key, "validation")}
        assert languages == {"swa", "0", "1"}, "also what only one of them recorded"
    assert {
        trial: len(pairs) for trial, pairs in ledger.pairs("s", "validation").items()
    } == dict.fromkeys(range(40), 1)


def same_fields(of: Score | TrainedStage) -> list[object]:
    """All but the checkpoint's key."""
    return [getattr(of, field.name) for field in fields(of)[1:]]
