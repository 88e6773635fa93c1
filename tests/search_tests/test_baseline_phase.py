"""The direct trainings that a study begins with, and the baseline that its gains are over."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from statistics import fmean
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from objectives.transfer import TransferObjective
from search import doctor
from search.studies.baseline import Baseline, choose_baseline, kept_baseline
from search.studies.direct_trainings import RATE
from search.studies.stored_study import StoredStudy, open_stored_study
from search.studies.trial_notes import TrialNotes
from spaces.errors import DataError, DivergedError
from spaces.records import parse
from spaces.studies import StudySpec
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import PairedScore
from tests.processes import wait_until
from tests.raising import raises
from tests.search_tests.conftest import Workplace
from tests.studies import RECORD, a_score, small_space

SPEC = parse(StudySpec, RECORD, "a study")
SPACE = small_space({"none": (), "legal": ("c",)}, epochs=(1,), learning_rate=(1e-5, 2e-5))
LANGUAGES = frozenset({"swa", "yor"})


@pytest.fixture
def workplace(workplace: Workplace) -> Workplace:
    """With a study that has target rates to tune over."""
    file = workplace.folder / "tiny.toml"
    one, two = "learning_rate = 1e-3\nexamples = 48", "learning_rate = [5e-4, 1e-3]\nexamples = 48"
    study = file.read_text(encoding="utf-8")
    assert one in study
    file.write_text(study.replace(one, two), encoding="utf-8")
    return workplace


# --- what is chosen


def _training(
    trial: int, rate: float, *scores: float, task: str = "t", setting: str = ""
) -> tuple[int, dict[str, Any], TransferGain]:
    """One direct training: a score in each of two languages, four points apart, per seed."""
    pairs = [
        PairedScore(seed, replace(a_score(task, language, score + more), setting=setting))
        for seed, score in enumerate(scores)
        for language, more in (("swa", 0.02), ("yor", -0.02), ("eng", 0.4))
    ]
    return trial, {"intermediate.domain": "none", RATE: rate}, TransferGain(tuple(pairs))


def _both(*parts: tuple[int, dict[str, Any], TransferGain]) -> tuple[int, Any, TransferGain]:
    """One direct training of several target tasks."""
    trial, params, _ = parts[0]
    return trial, params, TransferGain(tuple(x for part in parts for x in part[2].pairs))


def _chosen(*trainings: tuple[int, Any, TransferGain], untried: int = 0) -> Baseline:
    return choose_baseline(SPEC, SPACE, trainings, LANGUAGES, 9, untried)


def test_each_target_task_has_the_direct_training_with_its_best_mean_over_seeds() -> None:
    baseline = _chosen(
        _both(_training(0, 1e-5, 0.5, 0.3), _training(0, 1e-5, 0.1, 0.3, task="u")),
        _both(_training(1, 2e-5, 0.45, 0.45), _training(1, 2e-5, 0.15, 0.15, task="u")),
        _both(_training(4, 4e-5, 0.48, 0.2), _training(4, 4e-5, 0.1, 0.1, task="u")),
    )
    assert {task: x.trial for task, x in baseline.tasks.items()} == {"t": 1, "u": 0}
    best = baseline.tasks["t"]
    assert (best.params[RATE], best.seeds) == (2e-5, (0, 1))
    assert best.scores == pytest.approx({"swa": 0.47, "yor": 0.43, "eng": 0.85})
    assert baseline.tasks["u"].scores == pytest.approx({"swa": 0.22, "yor": 0.18, "eng": 0.6})
    assert baseline.trials == 9
    assert Baseline.from_json(json.loads(json.dumps(baseline.as_json()))) == baseline


def test_a_gain_is_over_the_mean_of_the_same_task_and_language() -> None:
    baseline = _chosen(
        _both(_training(0, 1e-5, 0.5, 0.3), _training(0, 1e-5, 0.1, 0.3, task="u")),
    )
    run = [PairedScore(7, a_score("t", "swa", 0.52)), PairedScore(7, a_score("u", "yor", 0.08))]
    assert [pair.gain for pair in baseline.over(run)] == pytest.approx([10.0, -10.0])


def test_a_study_searches_its_own_rates_and_those_that_were_tried_beyond() -> None:
    baseline = _chosen(_training(0, 2e-5, 0.5), _training(1, 4e-5, 0.4))
    assert baseline.learning_rates == (1e-5, 2e-5, 4e-5)
    assert baseline.space(SPACE).target.learning_rate == (1e-5, 2e-5, 4e-5)
    assert baseline.space(SPACE).intermediate == SPACE.intermediate


@pytest.mark.parametrize(
    ("rate", "line"),
    [
        (1.25e-6, "t: direct training is best at 1.25e-06, the lowest rate that was tried"),
        (1.6e-4, "t: direct training is best at 0.00016, the highest rate that was tried"),
        (4e-5, ""),
    ],
)
def test_what_is_best_at_the_last_step_is_not_tuned(rate: float, line: str) -> None:
    said = _chosen(_training(0, rate, 0.5), _training(1, 2e-5, 0.4)).untuned
    assert (said[0].startswith(line), len(said)) == (True, 1) if line else not said


def test_what_is_best_at_the_most_epochs_with_every_seed_is_not_tuned() -> None:
    spec = parse(StudySpec, {**RECORD, "target": {**RECORD["target"], "epochs": [1, 3]}}, "s")

    def untuned(*settings: str) -> tuple[str, ...]:
        trial, params, gain = _training(0, 2e-5, *([0.5] * len(settings)))
        pairs = [replace(x, score=replace(x.score, setting=settings[x.seed])) for x in gain.pairs]
        training = trial, params, TransferGain(tuple(pairs))
        return choose_baseline(spec, SPACE, [training], LANGUAGES, 2).untuned

    (line,) = untuned("3 epochs", "3 epochs")
    assert line.startswith("t: direct training is best after 3 epochs, the most")
    assert untuned("3 epochs", "1 epoch") == ()
    assert _chosen(_training(0, 2e-5, 0.5, setting="2 epochs")).untuned == (), "one number"


def test_a_plan_that_was_cut_short_is_not_tuned() -> None:
    (line,) = _chosen(_training(0, 2e-5, 0.5), untried=3).untuned
    assert line.startswith("32 direct trainings were tried, and 3 that differ")


# --- in a study


def _stored(workplace: Workplace) -> StoredStudy:
    return open_stored_study(workplace.storage, "tiny")


def _runs(trials: list[FrozenTrial]) -> Counter[tuple[object, ...]]:
    """Recipe and seed of complete trials -> how many have these."""
    return Counter(
        (*sorted(x.params.items()), TrialNotes.of(x).seed)
        for x in trials
        if x.state is TrialState.COMPLETE
    )


def _direct(workplace: Workplace) -> list[FrozenTrial]:
    """The direct trainings of the study now; none before these have begun."""
    try:
        study = optuna.load_study(study_name="tiny.baseline", storage=workplace.storage)
    except (KeyError, optuna.exceptions.StorageInternalError):
        return []
    return study.trials


def _assert_sound(workplace: Workplace) -> None:
    """Nothing lost, nothing doubled: of the trials, and of the direct trainings."""
    done = workplace.call(doctor.main, "--study", "tiny", "--storage", workplace.storage)
    assert done.returncode == 0, done.stdout
    assert "direct trainings: no result lost" in done.stdout
    assert "direct trainings: no result doubled" in done.stdout


def test_gains_are_over_the_baseline_by_language_and_a_recipe_s_next_run_has_the_next_seed(
    searched: Workplace,
) -> None:
    one = ["intermediate.epochs=1", "intermediate.learning_rate=1e-3"]
    options = [
        word for change in (*one, "target.learning_rate=1e-3") for word in ("--set", change)
    ]
    done = searched.search(*options, "--name", "small", "--trials", "5", "--quiet")
    assert done.returncode == 0, done.stderr
    study = open_stored_study(searched.storage, "small")
    with closing(study.storage):
        zero = study.baseline
        assert zero is not None
        trials = study.optuna_study.trials
        assert sorted(_runs(trials).values()) == [1] * 5
        seeds = {
            task: [x.user_attrs["seed"] for x in trials if task in x.params.values()]
            for task in ("pocket_ner_calendar", "pocket_ner_parties")
        }
        assert all(found == list(range(len(found))) for found in seeds.values())
        pairs = study.ledger.pairs("small", "validation")
        for trial in trials:
            gains = [
                100 * (x.score.score - zero.tasks["pocket_ner"].scores[x.score.language])
                for x in pairs[trial.number]
            ]
            assert {x.seed for x in pairs[trial.number]} == {trial.user_attrs["seed"]}
            assert trial.value == pytest.approx(fmean(gains))
        direct = study.ledger.pairs("small.baseline", "validation")
        assert {x.value for x in study.direct_study.trials} == {
            100 * fmean(x.score.score for x in of_trial) for of_trial in direct.values()
        }
        best = zero.tasks["pocket_ner"]
        assert best.scores == {x.score.language: x.score.score for x in direct[best.trial]}


def test_it_goes_on_in_the_middle_and_no_trial_is_begun_before_the_baseline_is_known(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after two direct trainings; then it makes the baseline that it would have."""
    real, begun = TransferObjective.__call__, list[int]()

    def interrupted(self: TransferObjective, *asked: Any) -> Any:
        begun.append(len(begun))
        if len(begun) == 3:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *asked)

    monkeypatch.setattr(TransferObjective, "__call__", interrupted)
    assert workplace.search("--trials", "2").returncode == 128 + signal.SIGTERM
    monkeypatch.undo()
    with closing(open_storage(workplace.storage)) as storage:
        assert kept_baseline("tiny", Ledger(storage.engine)) is None
        study = optuna.load_study(study_name="tiny", storage=storage)
        assert study.trials == []
        direct = optuna.load_study(study_name="tiny.baseline", storage=storage).trials
        assert [x.state.name for x in direct] == ["COMPLETE", "COMPLETE", "FAIL"]
    done = workplace.search("--trials", "2")
    assert done.returncode == 0, done.stderr
    assert "2 of " in done.stderr
    assert "direct trainings are done already" in done.stderr
    study = _stored(workplace)
    with closing(study.storage):
        assert study.baseline is not None
        runs = _runs(study.direct_study.trials)
        assert set(runs.values()) == {1}
        assert study.baseline.trials == len(runs)
        assert study.direct_study.trials[3].user_attrs["retry_of"] == 2
        assert len(study.optuna_study.trials) == 2
        (again,) = study.baseline.tasks.values()
    whole = replace(workplace, folder=workplace.folder / "whole")
    whole.folder.mkdir()
    (whole.folder / "tiny.toml").write_bytes((workplace.folder / "tiny.toml").read_bytes())
    assert whole.search("--trials", "1", "--quiet").returncode == 0
    study = _stored(whole)
    with closing(study.storage):
        assert study.baseline is not None
        (best,) = study.baseline.tasks.values()
        assert best == replace(again, trial=best.trial)
    _assert_sound(workplace)


def test_more_trials_are_over_the_same_baseline_and_train_it_no_more(
    searched: Workplace,
) -> None:
    study = _stored(searched)
    with closing(study.storage):
        before, direct = study.baseline, study.direct_study.trials
    done = searched.search("--trials", "5")
    assert done.returncode == 0, done.stderr
    assert "direct training 0" not in done.stderr
    assert "best direct training of pocket_ner" in done.stderr
    study = _stored(searched)
    with closing(study.storage):
        assert study.baseline == before
        assert study.direct_study.trials == direct


def test_where_all_direct_trainings_diverge_it_is_said_in_one_line(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(self: TransferObjective, *asked: Any) -> Any:
        raise DivergedError("target stage", "a finite loss", "nan at update 2")

    monkeypatch.setattr(TransferObjective, "__call__", diverges)
    for _ in range(2):  # and again when it is asked for once more, without another training
        done = workplace.search("--trials", "2")
        assert done.returncode == 2
        (line,) = (x for x in done.stderr.splitlines() if x.startswith("error: "))
        assert line == (
            "error: study 'tiny': expected a direct training that ends with scores, found none: "
            "all diverged or did not fit the device; lower target.learning_rate or "
            "target.batch_size"
        )
    assert [x.state.name for x in _direct(workplace)] == ["PRUNED"] * 2


def test_of_nothing_no_baseline_is_chosen() -> None:
    with raises(DataError, subject="study 'synthetic'", found="none"):
        _chosen()


def test_one_that_diverges_is_passed_over(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TransferObjective.__call__

    def high(self: TransferObjective, recipe: Any, *asked: Any) -> Any:
        if recipe.routes[0].target.learning_rate > 6e-4:
            raise DivergedError("target stage", "a finite loss", "nan at update 2")
        return real(self, recipe, *asked)

    monkeypatch.setattr(TransferObjective, "__call__", high)
    done = workplace.search("--trials", "2")
    assert done.returncode == 0, done.stderr
    assert "infeasible: target stage: expected a finite loss" in done.stderr
    study = _stored(workplace)
    with closing(study.storage):
        assert study.baseline is not None
        states = [x.state.name for x in study.direct_study.trials]
        assert (states[1], states.count("PRUNED")) == ("PRUNED", 1)
        assert study.baseline.trials == len(states)
    _assert_sound(workplace)


def test_a_study_that_was_deleted_in_optuna_starts_afresh_with_its_direct_trainings(
    searched: Workplace,
) -> None:
    before = _direct(searched)
    with closing(open_storage(searched.storage)) as storage:
        optuna.delete_study(study_name="tiny", storage=storage)
    done = searched.search("--trials", "2", "--set", "target.learning_rate=[2e-4, 4e-4]")
    assert done.returncode == 0, done.stderr
    assert "done already" not in done.stderr
    study = _stored(searched)
    with closing(study.storage):
        direct = study.direct_study.trials
        assert {2e-4, 4e-4} <= {x.params[RATE] for x in direct}
        assert 1e-3 not in {x.params[RATE] for x in direct}, "of the study before"
        assert study.baseline is not None
        assert study.baseline.trials == len(direct)
        begun, ended = direct[0].datetime_start, before[-1].datetime_start
        assert begun is not None
        assert ended is not None
        assert begun > ended
        assert len(study.optuna_study.trials) == 2
    _assert_sound(searched)


def test_a_study_whose_direct_trainings_were_deleted_does_not_go_on(searched: Workplace) -> None:
    """With others, its gains would be over another baseline."""
    with closing(open_storage(searched.storage)) as storage:
        optuna.delete_study(study_name="tiny.baseline", storage=storage)
    for _ in range(2):
        done = searched.search("--trials", "6")
        assert done.returncode == 2
        (line,) = (x for x in done.stderr.splitlines() if x.startswith("error: "))
        assert "expected study 'tiny.baseline', the direct trainings of 'tiny', found none" in line
        assert "run the study under another --name" in line
    with closing(open_storage(searched.storage)) as storage:
        assert kept_baseline("tiny", Ledger(storage.engine)) is not None
        assert len(optuna.load_study(study_name="tiny", storage=storage).trials) == 4


@pytest.mark.slow
def test_two_workers_make_one_baseline_and_nothing_twice(workplace: Workplace) -> None:
    """Another process, and this one as soon as that has begun."""
    words = ("--trials", "4", "--set", "baseline_seeds=3", "--quiet")
    other = workplace.start(*workplace.command(*words))
    wait_until(lambda: _has_begun(workplace), other)
    done = workplace.search(*words)
    assert done.returncode == 0, done.stderr
    output, _ = other.communicate()
    assert other.returncode == 0, output
    study = _stored(workplace)
    with closing(study.storage):
        assert study.baseline is not None
        direct, trials = study.direct_study.trials, study.optuna_study.trials
        assert [x.state.name for x in (*direct, *trials)] == ["COMPLETE"] * (len(direct) + 4)
        assert set(_runs(direct).values()) == set(_runs(trials).values()) == {1}
        assert study.baseline.trials == len(direct)
        assert len(study.baseline.tasks["pocket_ner"].seeds) == 3
        assert max(x.datetime_complete for x in direct if x.datetime_complete) < min(
            x.datetime_start for x in trials if x.datetime_start
        )
    _assert_sound(workplace)


@pytest.mark.slow
@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_worker_that_is_killed_among_the_direct_trainings_loses_and_doubles_nothing(
    workplace: Workplace, done: int
) -> None:
    words = ("--trials", "2", "--set", "baseline_seeds=3", "--set", "target.epochs=10")
    process = workplace.start(*workplace.command(*words))

    def is_amid() -> bool:
        states = [x.state.name for x in _direct(workplace)]
        return states.count("COMPLETE") >= done and states[-1:] == ["RUNNING"]

    wait_until(lambda: _has_begun(workplace) and is_amid(), process)
    time.sleep(0.05)
    process.kill()
    process.communicate()
    ended = workplace.search(*words)
    assert ended.returncode == 0, ended.stderr
    study = _stored(workplace)
    with closing(study.storage):
        direct = study.direct_study.trials
        lost = [x for x in direct if x.state is TrialState.FAIL]
        assert [x.user_attrs["reason"] for x in lost] == ["its worker was killed"] * len(lost)
        assert len(lost) <= 1
        assert set(_runs(direct).values()) == {1}
        assert study.baseline is not None
        assert study.baseline.trials == len(direct) - len(lost)
        assert len(study.optuna_study.trials) == 2
    _assert_sound(workplace)


def _has_begun(workplace: Workplace) -> bool:
    """Whether a slot was taken: to open a database that is being made is to make its tables."""
    engine = sa.create_engine(workplace.storage)
    with engine.connect() as connection:
        is_there = sa.inspect(connection).has_table("transfer_slots")
        query = "SELECT COUNT(*) FROM transfer_slots"
        begun = is_there and connection.exec_driver_sql(query).scalar_one() > 0
    engine.dispose()
    return bool(begun)
