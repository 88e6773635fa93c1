"""Proposals: the same for the same history, different from slot to slot."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.workers.proposals import Proposal, first_parameters
from spaces.dimensions import suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from storage import optuna_internals
from tests.raising import raises
from tests.search_tests.loop import history_of
from tests.studies import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


def _study(name: str = "s") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def _proposals(study: optuna.Study, trials: int) -> list[Recipe]:
    recipes = []
    for slot in range(trials):
        proposal = Proposal(history_of(study), slot)
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
        len({suggest_recipe(Proposal(history_of(_study()), 0, draw), SPACE) for draw in range(8)})
        > 4
    )


def test_workers_that_ask_before_anyone_tells_do_not_propose_alike() -> None:
    study = _study()
    history = history_of(study)
    recipes = [suggest_recipe(Proposal(history, slot), SPACE) for slot in range(8)]
    assert len(set(recipes)) >= 6


@pytest.mark.parametrize("slot", [50, 51, 52, 53])
def test_it_proposes_what_optunas_own_sampler_proposes(
    slot: int, request: pytest.FixtureRequest
) -> None:
    """Of a history with trials of each state, in several draws of one reading."""
    study = _study()
    _proposals(study, 40)
    for number, state in enumerate([TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL] * 3):
        proposal = Proposal(history_of(study), 90 + number)
        suggest_recipe(proposal, SPACE)
        study.add_trial(
            create_trial(state=state, params=proposal.params, distributions=proposal.distributions)
        )

    def drawn() -> list[Recipe]:
        history = history_of(study)
        return [suggest_recipe(Proposal(history, slot, draw), SPACE) for draw in range(6)]

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
    history = history_of(study)
    for draw in range(5):
        suggest_recipe(Proposal(history, 30, draw), SPACE)
    assert len(splits) == 1


def test_what_others_are_at_is_avoided() -> None:
    """While 12 workers are at the task that pays, TPE takes it for worse than it is."""
    study = _study()
    _proposals(study, 40)
    best = {"intermediate.domain": "legal", "intermediate.task.legal": "c"}

    def share_of_best() -> int:
        history = history_of(study)
        proposals = [suggest_recipe(Proposal(history, slot), SPACE) for slot in range(40, 80)]
        return sum(recipe.intermediate == "c" for recipe in proposals)

    before = share_of_best()
    for slot in range(100, 112):
        proposal = Proposal(history_of(study), slot, 0, best)
        suggest_recipe(proposal, SPACE)
        study.add_trial(proposal.as_trial({}))
    assert share_of_best() < before


def test_the_sampler_learns_what_pays() -> None:
    late = _proposals(_study(), 60)[30:]
    assert sum(recipe.intermediate == "c" for recipe in late) > 15


def test_every_arm_is_tried_first_and_the_reference_before_all() -> None:
    study = _study()
    history = history_of(study)
    proposals = [Proposal(history, slot, 0, first_parameters(SPACE, slot)) for slot in range(3)]
    for proposal in proposals:
        suggest_recipe(proposal, SPACE)
    domains = [proposal.params["intermediate.domain"] for proposal in proposals]
    assert domains == ["none", "general", "legal"]
    reference = proposals[0].params
    assert {k: v for k, v in reference.items() if k.startswith("target.")} == {
        "target.epochs": 2,
        "target.learning_rate": 3e-5,
    }
    assert first_parameters(SPACE, 3) == {}


def test_a_given_value_that_the_space_has_not_is_named() -> None:
    proposal = Proposal(history_of(_study()), 5, 0, {"intermediate.domain": "medical"})
    with raises(
        StorageError,
        subject="study 's'",
        expected="intermediate.domain in none, general, legal",
        found="'medical' in a trial that was queued",
    ):
        suggest_recipe(proposal, SPACE)
