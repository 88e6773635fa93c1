"""The loop: what becomes of a slot, what a trial is told as, and when the loop ends."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.studies.trial_notes import Failure
from search.workers.heartbeat import TAKEN_OVER, Pulse
from search.workers.loop import HOPELESS
from search.workers.trial_attempts import RETRIES
from spaces.errors import (
    BudgetSpent,
    CacheClosedError,
    CacheError,
    DataError,
    DeviceMemoryError,
    DivergedError,
    Interrupted,
    StudyGoneError,
    StudyStopped,
)
from spaces.recipe import Recipe
from spaces.studies import Sampler
from storage.processes import is_dead, process_identity
from storage.slots import Slot, Slots
from tests.raising import raises
from tests.search_tests.loop import ELSEWHERE, Loop, Train, dead_process
from tests.studies import small_space

ARMS = 1
"""Slots at the start of a study that try each arm."""


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache"))
    yield loop
    loop.storage.close()


@pytest.fixture(scope="module")
def dead() -> str:
    return dead_process()


def well(recipe: Recipe, seed: int) -> float:
    """A training that goes well."""
    return 1.0


def unasked(recipe: Recipe, seed: int) -> float:
    """A training that is not to be."""
    raise AssertionError("trained")


def at_first(error: BaseException) -> Train:
    """A training that goes wrong once."""
    errors = iter([error])

    def train(recipe: Recipe, seed: int) -> float:
        for problem in errors:
            raise problem
        return 1.0

    return train


# --- how an attempt ends


@pytest.mark.parametrize(
    "error",
    [
        DivergedError("diverged: loss is nan at update 3"),
        DeviceMemoryError("out of memory on cuda:0 with one example of 128 sub-words"),
    ],
)
def test_an_infeasible_recipe_is_pruned_with_its_reason_and_the_study_goes_on(
    loop: Loop, error: Exception
) -> None:
    loop.run(at_first(error), 3)
    assert loop.states == ["PRUNED", "COMPLETE", "COMPLETE"]
    assert loop.trials[0].user_attrs["reason"] == str(error)
    assert loop.trials[0].user_attrs["failure"] == Failure.INFEASIBLE
    assert sorted(loop.ledger.pairs("s", "validation")) == [1, 2]


def test_the_same_broken_data_twice_stops_the_study_with_the_reason(loop: Loop) -> None:
    def train(recipe: Recipe, seed: int) -> float:
        raise DataError("panx-sw.tsv:3: expected IOB2")

    with raises(DataError, subject="panx-sw"):
        loop.run(train, 3)
    assert loop.states == ["FAIL", "FAIL"]
    first, second = loop.trials
    assert first.params == second.params
    assert loop.attributes("failure") == [Failure.ERROR] * 2
    account = loop.workers.account()
    assert account.stops == 1
    assert account.stop_reason == (
        "trial 1 met the same error again: panx-sw.tsv:3: expected IOB2"
    )


def test_two_unlike_errors_do_not_stop_the_study(loop: Loop) -> None:
    errors = iter([DataError("line 3"), DataError("line 4")])

    def train(recipe: Recipe, seed: int) -> float:
        for error in errors:
            raise error
        return 1.0

    loop.run(train, 1)
    assert loop.states == ["FAIL", "FAIL", "COMPLETE"]
    assert loop.attributes("retry_of") == [None, 0, 1]
    assert loop.workers.account().stops == 0


def test_a_stop_of_the_study_ends_the_work_of_its_other_workers(tmp_path: Path) -> None:
    loops = [
        Loop(f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache"), 1.0) for _ in range(2)
    ]
    trains, pulses, ended = threading.Event(), list[Pulse](), list[BaseException]()

    def patient(recipe: Recipe, seed: int) -> float:
        trains.set()
        while True:
            pulses[0].check()
            threading.Event().wait(0.02)

    def work() -> None:
        try:
            loops[0].run(patient, 3, passed=pulses.append)
        except StudyStopped as error:
            ended.append(error)

    def broken(recipe: Recipe, seed: int) -> float:
        raise DataError("broken")

    other = threading.Thread(target=work, daemon=True)
    other.start()
    trains.wait()
    with pytest.raises(DataError):
        loops[1].run(broken, 3)
    other.join()
    assert "met the same error again: broken" in str(ended[0])
    assert loops[0].states == ["FAIL", "FAIL", "FAIL"]
    assert loops[0].attributes("failure") == [Failure.INTERRUPTED, Failure.ERROR, Failure.ERROR]
    for loop in loops:
        loop.storage.close()


def test_a_bug_shows_its_traceback_and_stops_the_study_when_it_comes_again(loop: Loop) -> None:
    def train(recipe: Recipe, seed: int) -> float:
        raise ZeroDivisionError("a bug")

    for stops in (0, 1):
        with pytest.raises(ZeroDivisionError):
            loop.run(train, 3)
        assert loop.trials[-1].user_attrs["reason"] == "ZeroDivisionError: a bug"
        assert loop.workers.account().stops == stops


def test_a_stopped_trial_is_tried_again_with_its_parameters_and_does_not_count(
    loop: Loop,
) -> None:
    def stopped(recipe: Recipe, seed: int) -> float:
        loop.stop.number = signal.SIGTERM
        loop.stop.check()
        raise AssertionError("unreachable")

    for _ in range(RETRIES + 2):
        with pytest.raises(Interrupted):
            loop.run(stopped, 2)
        loop.stop.number = 0
    assert loop.slots.count_done() == 0
    loop.run(well, 2)
    assert loop.states == ["FAIL"] * (RETRIES + 2) + ["COMPLETE"] * 2
    *failed, retry, _ = loop.trials
    assert retry.user_attrs["retry_of"] == failed[-1].number
    assert retry.user_attrs["retry_reason"] == "interrupted"
    assert {trial.user_attrs["failure"] for trial in failed} == {Failure.INTERRUPTED}
    assert all(trial.params == retry.params for trial in failed)


def test_a_spent_budget_ends_the_run_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    loop = Loop(f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache"), 1.0)
    pulses: list[Pulse] = []

    def train(recipe: Recipe, seed: int) -> float:
        while True:
            pulses[-1].check()
            threading.Event().wait(0.02)

    with raises(BudgetSpent, subject="device time of 1 s is used up"):
        loop.run(train, 9, passed=pulses.append, device_seconds=1.0)
    assert loop.states == ["FAIL"]
    assert loop.trials[0].user_attrs["failure"] == Failure.INTERRUPTED
    used = loop.workers.account().device_seconds
    assert 0.5 < used <= 1.0
    loop.run(well, 2, device_seconds=60.0)
    assert loop.states == ["FAIL", "COMPLETE", "COMPLETE"]
    loop.storage.close()


# --- how many there are


def test_trials_is_a_total_over_runs(loop: Loop) -> None:
    for trials in (2, 2, 4):
        loop.run(well, trials)
        assert len(loop.trials) == trials
    loop.run(unasked, 3)


def test_a_search_ends_when_its_recommendation_is_near_enough_and_each_arm_was_tried(
    tmp_path: Path,
) -> None:
    url, cache = f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache")
    loop = Loop(url, cache, sampler=Sampler.TRANSFER)
    loop.space = small_space(
        {"none": (), "general": ("a",), "legal": ("c",)}, epochs=(1, 2), learning_rate=(1e-4,)
    )
    loop.run(well, 9, until=1000.0)
    assert loop.states == ["COMPLETE"] * 2
    assert loop.seen.lines[-2] == "the recommendation is within 1000 points, as asked for"
    assert loop.seen.lines[-1].startswith("after 2 trials: ")
    loop.run(unasked, 9, until=1000.0)
    loop.run(well, 4, until=1e-9)
    assert loop.states == ["COMPLETE"] * 4, "the number of trials is a limit all the same"
    loop.storage.close()


def test_a_long_search_says_how_far_it_is_as_it_goes(tmp_path: Path) -> None:
    url, cache = f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache")
    loop = Loop(url, cache, sampler=Sampler.TRANSFER)
    loop.run(lambda recipe, seed: 4.0 * (recipe.routes[0].target.epochs == 2), 12)
    (line,) = (line for line in loop.seen.lines if line.startswith("after 10 trials: "))
    assert re.search(r"within \d+\.\d points of the best recipe \(with 90 %: \d+\.\d\)", line)
    loop.storage.close()


# --- what a user queued


def test_a_queued_trial_is_run_with_what_was_given_and_the_rest_drawn(loop: Loop) -> None:
    loop.study.enqueue_trial({"intermediate.domain": "legal", "target.learning_rate": 1e-4})
    loop.study.enqueue_trial({"target.learning_rate": 1e-5})
    seen: list[Recipe] = []

    def train(recipe: Recipe, seed: int) -> float:
        seen.append(recipe)
        return 1.0

    loop.run(train, ARMS + 3)
    assert loop.states == ["COMPLETE"] * (ARMS + 3)
    assert loop.attributes("slot") == [1, 2, 0, 3]
    assert None not in loop.attributes("seed")
    first, second = loop.trials[:2]
    assert first.params["target.learning_rate"] == 1e-4
    assert first.params.keys() == loop.trials[2].params.keys(), "all that the arm has is drawn"
    assert second.params["target.learning_rate"] == 1e-5
    assert [x.routes[0].target.learning_rate for x in seen[ARMS : ARMS + 2]] == [1e-4, 1e-5]
    assert loop.ledger.recorded_trials("s") == set(range(ARMS + 3))


def test_a_queued_trial_without_an_intermediate_task_fails_as_these_came_before(
    loop: Loop,
) -> None:
    loop.study.enqueue_trial({"intermediate.domain": "none"})
    loop.run(well, ARMS + 1)
    assert loop.states == ["FAIL"] + ["COMPLETE"] * (ARMS + 1)
    reason = loop.trials[0].user_attrs["reason"]
    assert "expected intermediate.domain in legal, found 'none'" in reason


def test_a_queued_trial_with_a_value_of_no_space_fails_with_the_reason(loop: Loop) -> None:
    loop.study.enqueue_trial({"target.epochs": 77})
    loop.run(well, ARMS + 1)
    assert loop.states == ["FAIL"] + ["COMPLETE"] * (ARMS + 1)
    assert "expected target.epochs in 1, 2, found 77" in loop.trials[0].user_attrs["reason"]
    assert loop.slots.are_done(ARMS + 1)


def test_a_queued_trial_that_met_a_fault_is_tried_again_with_its_parameters(loop: Loop) -> None:
    loop.run(well, ARMS)
    loop.study.enqueue_trial({"target.learning_rate": 1e-4, "target.epochs": 1})
    loop.run(at_first(DataError("once")), ARMS + 1)
    queued, retry = loop.trials[ARMS:]
    assert (queued.state, retry.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert retry.user_attrs["retry_of"] == queued.number
    assert retry.params == queued.params
    assert retry.params["target.learning_rate"] == 1e-4


# --- what a worker that died left behind


@pytest.mark.parametrize(
    ("is_here", "reason"),
    [(True, "its worker was killed"), (False, "its worker gave no sign of life")],
)
def test_the_trial_of_a_dead_worker_is_failed_and_tried_again(
    loop: Loop, dead: str, is_here: bool, reason: str
) -> None:
    loop.abandon(dead if is_here else ELSEWHERE)
    loop.run(well, 1)
    lost, retry = loop.trials
    assert (lost.state, retry.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert lost.user_attrs["reason"] == reason
    assert lost.user_attrs["failure"] == Failure.LOST
    assert retry.params == lost.params
    assert retry.user_attrs["retry_of"] == 0
    assert retry.user_attrs["retry_reason"] == reason
    assert retry.user_attrs["worker"] == process_identity()


def test_what_a_dead_worker_had_found_is_told_and_not_trained_again(loop: Loop, dead: str) -> None:
    loop.abandon(dead, points=4.0)
    loop.run(unasked, 1)
    assert loop.states == ["COMPLETE"]
    assert loop.trials[0].value == pytest.approx(4.0)
    assert loop.attributes("gains") == [{"t": pytest.approx(4.0)}]
    assert loop.slots.are_done(1)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_a_slot_whose_trial_was_told_before_its_worker_died_is_done(
    loop: Loop, dead: str, state: TrialState
) -> None:
    loop.abandon(dead, state=state, points=4.0)
    loop.run(unasked, 1)
    assert loop.states == [state.name]
    assert loop.slots.are_done(1)


def test_a_slot_whose_worker_died_before_it_made_a_trial_is_begun_anew(
    loop: Loop, dead: str
) -> None:
    loop.abandon(dead, trial=False)
    loop.run(well, 1)
    assert loop.states == ["COMPLETE"]
    assert loop.trials[0].user_attrs["attempt"] == "0/2"


def test_a_slot_that_kills_its_workers_is_given_up(loop: Loop, dead: str) -> None:
    for _ in range(1 + RETRIES):
        loop.abandon(dead)
    loop.run(unasked, 1)
    assert loop.states == ["FAIL"] * (1 + RETRIES)
    assert set(loop.attributes("failure")) == {Failure.LOST}
    assert "slot 0: given up after 4 attempts: its worker was killed" in loop.seen.lines
    assert loop.slots.are_done(1)


def test_one_retry_less_is_not_given_up(loop: Loop, dead: str) -> None:
    for _ in range(RETRIES):
        loop.abandon(dead)
    loop.run(well, 1)
    assert loop.states == ["FAIL"] * RETRIES + ["COMPLETE"]


def test_the_trial_of_a_living_worker_is_left_alone(loop: Loop) -> None:
    slot = loop.abandon(process_identity())
    assert loop.slots.take(1) is None
    loop.run(well, 0)
    assert loop.states == ["RUNNING"]
    (opened,) = loop.slots.open_slots()
    assert (opened.number, opened.lease_key) == (slot.number, slot.lease.key)


def test_a_worker_that_was_held_up_past_its_lease_publishes_nothing(tmp_path: Path) -> None:
    """Another one takes its slot meanwhile; this one goes on with what is left."""
    loop, other = (
        Loop(f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache")) for _ in range(2)
    )
    turns = iter(range(9))

    def held_up(recipe: Recipe, seed: int) -> float:
        if next(turns) == 0:
            with loop.storage.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE transfer_leases SET expires_at = 1")
            other.run(well, 1)
        return 9.0

    loop.run(held_up, 2)
    assert loop.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.value for trial in loop.trials] == [None, pytest.approx(1.0), pytest.approx(9.0)]
    assert loop.attributes("slot") == [0, 0, 1]
    assert loop.ledger.recorded_trials("s") == {1, 2}
    assert any(
        "took it over, as this one paused past its lease" in line for line in loop.seen.lines
    )
    for each in (loop, other):
        each.storage.close()


def test_a_trial_made_after_its_slot_was_taken_over_does_not_run_for_ever(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, late = Slots.begin, list[int]()

    def begin_late(slots: Slots, slot: Slot, recipe_key: str | None) -> bool:
        begun = begin(slots, slot, recipe_key)
        if not late:  # as if another worker had come and gone before this one makes its trial
            late.append(slot.number)
            with loop.storage.engine.begin() as connection:
                query = "UPDATE transfer_leases SET fence = fence + 1, owner = ''"
                connection.exec_driver_sql(f"{query} WHERE lease_key = '{slot.lease.key}'")
        return begun

    monkeypatch.setattr(Slots, "begin", begin_late)
    loop.run(well, 2)
    assert loop.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert loop.attributes("failure") == [Failure.LOST, None, None]
    assert loop.trials[0].user_attrs["reason"] == TAKEN_OVER
    assert loop.attributes("slot") == [0, 0, 1]


def test_a_disk_that_is_full_for_a_while_costs_no_slot(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.workers.loop.LONGEST_PAUSE", 0.01)
    full = iter(range(RETRIES + 2))

    def train(recipe: Recipe, seed: int) -> float:
        for _ in full:
            raise CacheError("checkpoint cache x", "", "No space left on device")
        return 1.0

    loop.run(train, 2)
    assert loop.states == ["FAIL"] * (RETRIES + 2) + ["COMPLETE"] * 2
    assert loop.slots.count_done() == 2


def test_a_disk_that_will_never_be_writable_ends_the_worker_at_once(loop: Loop) -> None:
    def train(recipe: Recipe, seed: int) -> float:
        raise CacheClosedError("checkpoint cache x", "", "Read-only file system")

    with raises(CacheClosedError, found="Read-only"):
        loop.run(train, 3)
    assert loop.states == ["FAIL"]
    assert loop.attributes("failure") == [Failure.PASSING]
    loop.run(well, 3)
    assert loop.states == ["FAIL"] + ["COMPLETE"] * 3, "it cost the slot no attempt"


def test_a_study_that_is_renamed_under_a_worker_ends_it_in_a_line(
    loop: Loop, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"

    def train(recipe: Recipe, seed: int) -> float:
        if len(loop.states) == 2:  # as optuna-dashboard does it
            optuna.copy_study(
                from_study_name="s", from_storage=url, to_storage=url, to_study_name="new"
            )
            optuna.delete_study(study_name="s", storage=url)
        return 1.0

    with raises(StudyGoneError, found="deleted or renamed", advice="--name"):
        loop.run(train, 3)
    (kept,) = optuna.get_all_study_summaries(url)
    assert (kept.study_name, kept.n_trials) == ("new", 2)


def test_a_study_of_which_every_run_diverges_is_stopped_after_a_few(loop: Loop) -> None:
    def train(recipe: Recipe, seed: int) -> float:
        raise DivergedError("loss is nan at update 1")

    with raises(StudyStopped, subject="the last one by: loss is nan at update 1"):
        loop.run(train, 40)
    assert loop.states == ["PRUNED"] * HOPELESS
    assert "loss is nan" in loop.workers.account().stop_reason
    with raises(StudyStopped, subject="loss is nan"):
        loop.run(train, 40)
    assert loop.states == ["PRUNED"] * (HOPELESS + 1), "asked again, one more shows it"
    loop.run(well, 10)
    assert loop.states[HOPELESS + 1 :] == ["COMPLETE"] * (9 - HOPELESS)


def test_a_study_of_which_one_run_did_not_diverge_goes_on(loop: Loop) -> None:
    numbers = iter(range(99))

    def train(recipe: Recipe, seed: int) -> float:
        if next(numbers):
            raise DivergedError("loss is nan at update 1")
        return 1.0

    loop.run(train, HOPELESS + 3)
    assert loop.states == ["COMPLETE"] + ["PRUNED"] * (HOPELESS + 2)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_ends_a_process_is_no_error_of_its_trial(loop: Loop, error: BaseException) -> None:
    """As a library that meets a closed pipe, or Ctrl-C twice."""

    def train(recipe: Recipe, seed: int) -> float:
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            loop.run(train, 1)
    assert loop.attributes("failure") == [Failure.INTERRUPTED] * 2
    assert loop.workers.account().stops == 0
    loop.run(well, 1)
    assert loop.states == ["FAIL", "FAIL", "COMPLETE"]


def test_a_dead_process_is_told_from_a_living_and_from_a_foreign_one(dead: str) -> None:
    assert is_dead(dead)
    assert not is_dead(process_identity())
    machine, pid, started = process_identity().rsplit("/", 2)
    assert is_dead(f"{machine}/{pid}/{float(started) - 5:.2f}")  # the number was reused
    assert not is_dead(f"elsewhere/{dead.split('/', 1)[1]}")
    assert os.getpid() == int(pid)


# --- seeds


@pytest.mark.parametrize("sampler", Sampler)
def test_a_recipe_s_next_run_has_the_next_seed_whatever_proposes(
    sampler: Sampler, tmp_path: Path
) -> None:
    loop = Loop(f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.cache"), sampler=sampler)
    loop.space = small_space({"none": (), "legal": ("c",)}, (1, 2), (1e-4,))
    trained: list[tuple[Recipe, int]] = []

    def train(recipe: Recipe, seed: int) -> float:
        trained.append((recipe, seed))
        return float(recipe.routes[0].target.epochs)

    loop.run(train, 5)
    loop.run(train, 10)  # resumed
    for recipe in {recipe for recipe, _ in trained}:
        seeds = [seed for mine, seed in trained if mine == recipe]
        assert seeds == list(range(len(seeds)))
    assert len(set(trained)) == 10 > len({recipe for recipe, _ in trained})
    assert loop.attributes("seed") == [seed for _, seed in trained]
    loop.storage.close()


def test_another_attempt_has_the_seed_of_the_one_before(loop: Loop) -> None:
    loop.space = small_space({"none": (), "legal": ("c",)}, (1,), (1e-4,))
    loop.run(well, 2)
    loop.run(at_first(DataError("once")), 3)
    assert loop.states == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert loop.attributes("seed") == [0, 1, 2, 2]


def test_what_diverged_with_a_seed_is_not_tried_with_it_again(loop: Loop) -> None:
    loop.space = small_space({"none": (), "legal": ("c",)}, (1,), (1e-4,))
    loop.run(at_first(DivergedError("diverged")), 2)
    assert loop.states == ["PRUNED", "COMPLETE"]
    assert loop.attributes("seed") == [0, 1]


def test_a_trial_s_value_is_its_gain_over_the_baseline(loop: Loop) -> None:
    points = iter([0.0, 3.5, -2.0])
    loop.run(lambda recipe, seed: next(points), 3)
    assert [trial.value for trial in loop.trials] == pytest.approx([0.0, 3.5, -2.0])
    assert [x["t"] for x in loop.attributes("gains")] == pytest.approx([0.0, 3.5, -2.0])
    assert {trial.params["intermediate.domain"] for trial in loop.trials} == {"legal"}
