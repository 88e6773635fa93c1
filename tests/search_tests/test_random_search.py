"""Random search, the baseline of TPE: a proposal depends on its slot alone."""

from __future__ import annotations

import optuna
import pytest

from search.workers.proposals import Proposal
from spaces.dimensions import suggest_recipe
from spaces.errors import SpecError
from spaces.recipe import Recipe
from spaces.studies import Sampler, load_study
from tests.search_tests.loop import history_of
from tests.studies import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


def _study(name: str = "s") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def _proposed(study: optuna.Study, slot: int, draw: int = 0) -> tuple[Recipe, Proposal]:
    proposal = Proposal(history_of(study), slot, draw, sampler=Sampler.RANDOM)
    return suggest_recipe(proposal, SPACE), proposal


def test_what_was_found_before_changes_no_proposal() -> None:
    empty, full = _study(), _study()
    for slot in range(30):
        recipe, proposal = _proposed(full, slot)
        assert recipe == _proposed(empty, slot)[0]
        full.add_trial(
            optuna.trial.create_trial(
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
    assert load_study("xtreme_legal").sampler is Sampler.TPE
    assert load_study("xtreme_legal", ['sampler="random"']).sampler is Sampler.RANDOM
    with pytest.raises(SpecError, match=r"field 'sampler': .*'tpe' or 'random', found 'grid'"):
        load_study("xtreme_legal", ['sampler="grid"'])
