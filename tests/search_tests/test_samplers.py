"""Proposals: the same for the same history, different from slot to slot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.studies.trial_notes import TrialNotes
from search.workers.proposals import History, Proposal, first_parameters, fresh_seed, seed_by_slot
from spaces.dimensions import suggest_recipe
from spaces.enumeration import points
from spaces.errors import SpecError, StorageError
from spaces.recipe import Recipe
from spaces.studies import Sampler, load_study
from storage import optuna_internals
from tests.raising import raises
from tests.search_tests.loop import Loop, history_of
from tests.studies import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


def _by_tpe(
    history: History, slot: int, draw: int = 0, fixed: Mapping[str, Any] | None = None
) -> Proposal:
    return Proposal(history, slot, draw, fixed, Sampler.TPE)


def _study(name: str = "s") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def _proposals(study: optuna.Study, trials: int) -> list[Recipe]:
    recipes = []
    for slot in range(trials):
        proposal = _by_tpe(history_of(study, SPACE), slot)
        recipe = suggest_recipe(proposal, SPACE)
        study.add_trial(
            create_trial(
                value=1.0 if recipe.intermediate == "c" else 0.0,
                params=proposal.params,
                distributions=proposal.distributions,
            )
        )
        recipes.append(recipe)
    return recipes


def test_two_studies_with_one_history_propose_the_same() -> None:
    assert _proposals(_study(), 25) == _proposals(_study(), 25)


def test_another_study_name_another_slot_and_another_draw_propose_otherwise() -> None:
    first = _proposals(_study("s"), 10)
    assert first != _proposals(_study("t"), 10)
    assert len(set(first)) > 5
    assert (
        len(
            {
                suggest_recipe(_by_tpe(history_of(_study(), SPACE), 0, draw), SPACE)
                for draw in range(8)
            }
        )
        > 4
    )


def test_workers_that_ask_before_anyone_tells_do_not_propose_alike() -> None:
    study = _study()
    history = history_of(study, SPACE)
    recipes = [suggest_recipe(_by_tpe(history, slot), SPACE) for slot in range(8)]
    assert len(set(recipes)) >= 6


@pytest.mark.parametrize("slot", [50, 51, 52, 53])
def test_it_proposes_what_optunas_own_sampler_proposes(
    slot: int, request: pytest.FixtureRequest
) -> None:
    """Of a history with trials of each state, in several draws of one reading."""
    study = _study()
    _proposals(study, 40)
    for number, state in enumerate([TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL] * 3):
        proposal = _by_tpe(history_of(study, SPACE), 90 + number)
        suggest_recipe(proposal, SPACE)
        study.add_trial(
            create_trial(state=state, params=proposal.params, distributions=proposal.distributions)
        )

    def drawn() -> list[Recipe]:
        history = history_of(study, SPACE)
        return [suggest_recipe(_by_tpe(history, slot, draw), SPACE) for draw in range(6)]

    ours = drawn()
    request.getfixturevalue("untested_optuna")
    assert drawn() == ours


def test_a_reading_is_split_once_for_all_that_is_drawn_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = _study()
    _proposals(study, 20)
    splits = []
    split = optuna_internals._split_trials
    monkeypatch.setattr(
        optuna_internals, "_split_trials", lambda *x: splits.append(1) or split(*x)
    )
    history = history_of(study, SPACE)
    for draw in range(5):
        suggest_recipe(_by_tpe(history, 30, draw), SPACE)
    assert len(splits) == 1


def test_what_others_are_at_is_avoided() -> None:
    """While 12 workers are at the task that pays, TPE takes it for worse than it is."""
    study = _study()
    _proposals(study, 40)
    best = {"intermediate.domain": "legal", "intermediate.task": "c"}

    def share_of_best() -> int:
        history = history_of(study, SPACE)
        proposals = [suggest_recipe(_by_tpe(history, slot), SPACE) for slot in range(40, 80)]
        return sum(recipe.intermediate == "c" for recipe in proposals)

    before = share_of_best()
    for slot in range(100, 112):
        proposal = _by_tpe(history_of(study, SPACE), slot, 0, best)
        suggest_recipe(proposal, SPACE)
        study.add_trial(proposal.as_trial({}))
    assert share_of_best() < before


def test_the_sampler_learns_what_pays() -> None:
    late = _proposals(_study(), 60)[30:]
    assert sum(recipe.intermediate == "c" for recipe in late) > 15


def test_every_arm_is_tried_first() -> None:
    history, space = history_of(_study(), SPACE), SPACE.indirect()
    proposals = [_by_tpe(history, slot, 0, first_parameters(space, slot)) for slot in range(2)]
    for proposal in proposals:
        suggest_recipe(proposal, space)
    domains = [proposal.params["intermediate.domain"] for proposal in proposals]
    assert domains == ["general", "legal"]
    assert first_parameters(space, 2) == {}


def test_a_recipe_that_is_tried_again_has_a_seed_of_its_own() -> None:
    study = _study()
    params = dict(points(SPACE, 1000)[0][0].params)
    other = {**params, "target.epochs": 4}

    def add(seed: int, state: TrialState) -> None:
        proposal = Proposal(history_of(study, SPACE), 0, 0, params)
        suggest_recipe(proposal, SPACE)
        study.add_trial(
            create_trial(
                state=state,
                value=1.0 if state is TrialState.COMPLETE else None,
                params=proposal.params,
                distributions=proposal.distributions,
                user_attrs=TrialNotes(seed=seed).attributes,
            )
        )

    assert fresh_seed(study.trials, params, 3) == 3
    for seed, state in enumerate(
        (TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED), start=3
    ):
        add(seed, state)
        assert fresh_seed(study.trials, params, 3) == seed + 1
    add(6, TrialState.FAIL)
    assert fresh_seed(study.trials, params, 3) == 6, "a failed attempt has used up none"
    assert fresh_seed(study.trials, other, 3) == 3


def test_a_given_value_that_the_space_has_not_is_named() -> None:
    proposal = _by_tpe(history_of(_study(), SPACE), 5, 0, {"intermediate.domain": "medical"})
    with raises(
        StorageError,
        subject="study 's'",
        expected="intermediate.domain in none, general, legal",
        found="'medical' in a trial that was queued",
    ):
        suggest_recipe(proposal, SPACE)


# --- random search, the baseline of TPE: a proposal depends on its slot alone


def _proposed(study: optuna.Study, slot: int, draw: int = 0) -> tuple[Recipe, Proposal]:
    proposal = Proposal(history_of(study, SPACE), slot, draw, sampler=Sampler.RANDOM)
    return suggest_recipe(proposal, SPACE), proposal


def test_what_was_found_before_changes_no_proposal() -> None:
    empty, full = _study(), _study()
    for slot in range(30):
        recipe, proposal = _proposed(full, slot)
        assert recipe == _proposed(empty, slot)[0]
        full.add_trial(
            create_trial(
                params=proposal.params,
                distributions=proposal.distributions,
                value=float(recipe.intermediate == "c"),
            )
        )


def test_slots_draws_and_studies_differ() -> None:
    study = _study()
    assert len({_proposed(study, slot)[0] for slot in range(40)}) > 20
    assert len({_proposed(study, 0, draw)[0] for draw in range(8)}) > 6
    assert _proposed(study, 3)[0] != _proposed(_study("t"), 3)[0]


def test_every_choice_is_drawn_about_as_often() -> None:
    arms = [_proposed(_study(), slot)[1].params["intermediate.domain"] for slot in range(300)]
    assert all(70 < arms.count(arm) < 130 for arm in SPACE.arms)


def test_a_study_file_asks_for_it_by_name() -> None:
    assert load_study("xtreme_legal").sampler is Sampler.TRANSFER
    assert load_study("xtreme_legal", ['sampler="tpe"']).sampler is Sampler.TPE
    assert load_study("xtreme_legal", ['sampler="random"']).sampler is Sampler.RANDOM
    with raises(SpecError, subject="field 'sampler'", found="'grid'"):
        load_study("xtreme_legal", ['sampler="grid"'])


def test_a_slot_s_recipe_and_seed_depend_on_the_slots_before_it_alone() -> None:
    space = small_space({"none": (), "legal": ("c",)}, (1, 2), (1e-4,)).indirect()
    empty, full = history_of(_study(), SPACE), _study()
    drawn = []
    for slot in range(12):
        proposal = Proposal(empty, slot, 0, first_parameters(space, slot))
        recipe = suggest_recipe(proposal, space)
        seed = seed_by_slot(empty, space, slot, 5)
        assert seed == 5 + sum(recipe == before for before, _ in drawn)
        assert seed == seed_by_slot(history_of(full, SPACE), space, slot, 5)
        drawn.append((recipe, seed))
        full.add_trial(proposal.as_trial({}))
    assert len(set(drawn)) == 12 > len({recipe for recipe, _ in drawn})


# --- a study without Optuna's private names


def points_of(recipe: Recipe, seed: int) -> float:
    """In the place of a training: one task pays, and more epochs pay."""
    task = {"c": 8.0}.get(recipe.intermediate, 2.0)
    return task + recipe.routes[0].target.epochs / 7


def trials_of(loop: Loop, trials: int) -> list[tuple[Any, ...]]:
    """What a worker proposed and was told, trial by trial."""
    loop.space = SPACE
    loop.run(points_of, trials)
    found = [
        (trial.number, trial.state, trial.values, trial.params, trial.user_attrs["slot"])
        for trial in loop.trials
    ]
    loop.storage.close()
    return found


@pytest.mark.slow
def test_without_private_names_a_worker_runs_the_same_trials(
    tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """Long enough that TPE proposes, and resumed once."""
    runs = []
    for name in ("tested", "untested"):
        if name == "untested":
            request.getfixturevalue("untested_optuna")
        folder = tmp_path / name
        folder.mkdir()
        url = f"sqlite:///{folder / 'study.db'}"
        first = trials_of(Loop(url, str(folder / "cache")), 14)
        whole = trials_of(Loop(url, str(folder / "cache")), 24)
        assert whole[:14] == first
        runs.append(whole)
    assert len(runs[0]) == 24
    assert runs[0] == runs[1]
    said = [x for x in caplog.records if "was not tested" in x.getMessage()]
    assert len(said) == 1
