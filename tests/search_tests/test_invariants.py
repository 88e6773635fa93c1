"""Each invariant is broken on purpose, and says so."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.checks.invariants import (
    Invariant,
    check_cache,
    check_checkpoints,
    check_outbox,
    check_study,
    check_table,
)
from search.checks.remains import Expected, Remains, read_remains
from spaces.catalogue import load_catalogue
from spaces.studies import load_study
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.slots import Slots
from tests.search_tests.conftest import Workplace

TRIALS = 4
ALL = Expected(TRIALS)


@pytest.fixture
def remains(searched: Workplace) -> Iterator[Remains]:
    """Of the finished study."""
    storage = open_storage(searched.storage)
    study = optuna.load_study(study_name="tiny", storage=storage)
    slots = Slots(storage.engine, Leases(storage.engine), "tiny")
    yield read_remains(study, Ledger(storage.engine), slots)
    storage.close()


def _broken(
    remains: Remains,
    searched: Workplace,
    expected: Expected = ALL,
) -> dict[str, Invariant]:
    spec = load_study(str(searched.folder / "tiny.toml"))
    found = check_study(remains, spec, load_catalogue(), expected)
    return {x.name: x for x in found if not x.is_held}


def test_all_hold_of_a_study_that_nothing_happened_to(
    remains: Remains, searched: Workplace
) -> None:
    assert _broken(remains, searched) == {}
    assert check_table(remains, remains, TRIALS).is_held


def test_a_trial_that_runs_for_ever_is_seen(remains: Remains, searched: Workplace) -> None:
    stray = _copy(remains.trials[1], number=4, state=TrialState.RUNNING)
    broken = _broken(replace(remains, trials=[*remains.trials, stray]), searched)
    assert "trial 4 is RUNNING" in str(broken["every trial accounted for"])
    assert set(broken) == {"every trial accounted for"}


def test_a_slot_without_a_result_is_lost(remains: Remains, searched: Workplace) -> None:
    broken = _broken(replace(remains, trials=remains.trials[:3]), searched)
    assert "slot 3 has no result (no trial)" in str(broken["no result lost"])
    failed = _copy(remains.trials[3], state=TrialState.FAIL, values=None)
    failed.user_attrs |= {"failure": "lost", "reason": "its worker was killed"}
    broken = _broken(replace(remains, trials=[*remains.trials[:3], failed]), searched)
    assert "slot 3 has no result (its worker was killed)" in str(broken["no result lost"])
    assert "trial 3 has results and failed" in str(broken["no result doubled"])


def test_scores_that_the_ledger_lacks_are_lost(remains: Remains, searched: Workplace) -> None:
    pairs = {**remains.pairs, 2: remains.pairs[2][:1]}
    broken = _broken(replace(remains, pairs=pairs), searched)
    assert "trial 2 lacks the scores of [(0, 'pocket_ner', 'qab')]" in str(
        broken["no result lost"]
    )


def test_a_second_trial_of_a_slot_is_doubled_and_too_many(
    remains: Remains, searched: Workplace
) -> None:
    second = _copy(remains.trials[1], number=4)
    pairs = {**remains.pairs, 4: remains.pairs[1]}
    doubled = replace(remains, trials=[*remains.trials, second], pairs=pairs)
    broken = _broken(doubled, searched)
    assert "slot 1 has the trials [1, 4]" in str(broken["no result doubled"])
    assert "1 trials too many" in str(broken["budget exact"])


def test_a_slot_too_many_is_an_overshoot(remains: Remains, searched: Workplace) -> None:
    assert "1 trials too many" in str(_broken(remains, searched, Expected(3))["budget exact"])
    assert "1 too few" in str(_broken(remains, searched, Expected(5))["budget exact"])


def test_what_is_at_work_is_not_counted_as_missing(remains: Remains, searched: Workplace) -> None:
    running = _copy(remains.trials[3], state=TrialState.RUNNING, values=None)
    begun = replace(remains, trials=[*remains.trials[:3], running], slots_done=3, slots_open=[3])
    assert _broken(begun, searched, Expected(6, is_over=False)) == {}
    # Told, and its slot not closed yet.
    told = replace(remains, slots_done=3, slots_open=[3])
    assert _broken(told, searched, Expected(6, is_over=False)) == {}
    missing = replace(begun, slots_done=4, slots_open=[])
    assert set(_broken(missing, searched, Expected(6, is_over=False))) == {"no result lost"}
    assert set(_broken(begun, searched, Expected(3, is_over=False))) == {"budget kept to"}


def test_a_trial_of_a_live_worker_may_run_when_all_is_done(
    remains: Remains, searched: Workplace
) -> None:
    held_up = _copy(remains.trials[1], number=4, state=TrialState.RUNNING, values=None)
    late = replace(remains, trials=[*remains.trials, held_up])
    worker = held_up.user_attrs["worker"]
    assert _broken(late, searched, Expected(TRIALS, at_work={worker})) == {}
    assert set(_broken(late, searched)) == {"every trial accounted for"}


def test_a_slot_that_was_given_up_is_no_lost_result_where_that_may_be(
    remains: Remains, searched: Workplace
) -> None:
    failed = [_copy(remains.trials[3], number=3 + x, values=None) for x in range(2)]
    for trial in failed:
        trial.state = TrialState.FAIL
        trial.user_attrs |= {"failure": "lost", "reason": "its worker was killed"}
    left = replace(
        remains,
        trials=[*remains.trials[:3], *failed],
        recorded=set(remains.recorded) - {3},
        pairs={number: pairs for number, pairs in remains.pairs.items() if number != 3},
    )
    assert _broken(left, searched, Expected(TRIALS, attempts=2)) == {}
    assert set(_broken(left, searched, Expected(TRIALS, attempts=3))) == {"no result lost"}
    assert set(_broken(left, searched)) == {"no result lost"}


def test_a_trial_needs_the_scores_of_its_own_seed(remains: Remains, searched: Workplace) -> None:
    other = _copy(remains.trials[3])
    other.user_attrs["seed"] += 1
    broken = _broken(replace(remains, trials=[*remains.trials[:3], other]), searched)
    seed = other.user_attrs["seed"]
    assert f"trial 3 lacks the scores of [({seed}," in str(broken["no result lost"])


def test_the_value_of_a_direct_training_is_its_score(searched: Workplace) -> None:
    storage = open_storage(searched.storage)
    study = optuna.load_study(study_name="tiny.baseline", storage=storage)
    slots = Slots(storage.engine, Leases(storage.engine), "tiny.baseline")
    direct = read_remains(study, Ledger(storage.engine), slots)
    assert direct.baseline is None
    expected = Expected(len(direct.trials))
    assert _broken(direct, searched, expected) == {}
    trials = [_copy(direct.trials[0], values=[99.0]), *direct.trials[1:]]
    broken = _broken(replace(direct, trials=trials), searched, expected)
    assert set(broken) == {"ledger and study agree"}
    storage.close()


def test_a_value_that_is_not_the_ledger_s_is_seen(remains: Remains, searched: Workplace) -> None:
    trials = list(remains.trials)
    trials[2] = _copy(trials[2], values=[(trials[2].value or 0.0) + 1e-12])
    broken = _broken(replace(remains, trials=trials), searched)
    assert set(broken) == {"ledger and study agree"}


def test_a_retry_of_another_slot_s_trial_is_no_lineage(
    remains: Remains, searched: Workplace
) -> None:
    trials = list(remains.trials)
    trials[2] = _copy(trials[2])
    trials[2].user_attrs["retry_of"] = 1
    broken = _broken(replace(remains, trials=trials), searched)
    assert "trial 2 of slot 2 retries trial 1" in str(broken["lineage of every attempt whole"])


def test_a_table_that_differs_is_seen_unless_it_was_drawn_again(remains: Remains) -> None:
    trials = list(remains.trials)
    trials[3] = _copy(trials[3], values=[9.0])
    other = check_table(replace(remains, trials=trials), remains, TRIALS)
    assert "slot 3: value 9.0 and not" in str(other)
    trials[3] = _copy(remains.trials[3])
    name = "intermediate.learning_rate"
    rates = {3e-4, 1e-3} - {trials[3].params[name]}
    trials[3].params = {**trials[3].params, name: rates.pop()}
    assert not check_table(replace(remains, trials=trials), remains, TRIALS).is_held
    trials[3].user_attrs["draw"] = 1
    again = check_table(replace(remains, trials=trials), remains, TRIALS)
    assert again.is_held
    assert "1 drawn again" in str(again)


def test_a_damaged_checkpoint_that_nobody_tore_is_seen(searched: Workplace) -> None:
    cache = CheckpointCache(searched.folder / "transfer-search.cache")
    manifest = next(Path(cache.location).glob("??/*.json"))
    manifest.write_bytes(manifest.read_bytes()[:100])
    assert "is damaged, and nobody tore it" in str(check_cache(cache, ()))
    torn = check_cache(cache, {manifest.stem})
    assert torn.is_held
    assert "0 made anew and 1 not asked for again" in str(torn)


def test_a_study_s_checkpoints_are_looked_at_and_no_others(searched: Workplace) -> None:
    cache = CheckpointCache(searched.folder / "transfer-search.cache")
    keys = [entry.key for entry in cache.entries()]
    assert check_checkpoints(cache, keys).is_held
    lost, torn = keys[:2]
    location = Path(cache.location)
    (location / lost[:2] / f"{lost}.json").unlink()
    next((location / torn[:2]).glob(f"{torn}-*/*.safetensors")).write_bytes(b"x")
    found = check_checkpoints(cache, keys)
    assert set(found.violations) == {
        f"{lost[:12]} has files and no manifest",
        f"{torn[:12]} is damaged",
    }
    assert found.found.startswith(f"{len(keys) - 2} of the study's")
    assert check_checkpoints(cache, keys[2:]).is_held
    for folder in (location / lost[:2]).glob(f"{lost}-*"):
        shutil.rmtree(folder)
    assert check_checkpoints(cache, [lost, *keys[2:]]).is_held, "evicted, it is not missed"


def test_an_entry_left_in_the_outbox_is_seen() -> None:
    assert not check_outbox([Path("x.json")]).is_held


def _copy(trial: optuna.trial.FrozenTrial, **changes: object) -> optuna.trial.FrozenTrial:
    changed = copy.deepcopy(trial)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed
