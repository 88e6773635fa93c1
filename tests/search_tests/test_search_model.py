"""`sampler = "transfer"`: what the program's own proposals make of a study in Optuna."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.answer import recommend
from search.surrogate.gains import Zero
from search.surrogate.recipe_table import RecipeTable, build_table
from search.workers.proposals import History, Proposal
from search.workers.search_model import DirectGain, ModelledSpace
from spaces.dimensions import suggest_recipe
from spaces.errors import DivergedError, StorageError
from spaces.recipe import Recipe
from spaces.studies import Sampler, load_study
from tests.raising import raises
from tests.search_tests.loop import Loop, history_of, modelled
from tests.studies import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


INDIRECT = SPACE.indirect()


@cache
def _known() -> ModelledSpace:
    return modelled(SPACE)


def _table() -> RecipeTable:
    return _known().table


def _study(name: str = "s") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def _history(study: optuna.Study) -> History:
    return history_of(study, INDIRECT, _known())


def _proposal(study: optuna.Study, slot: int, draw: int = 0, **fixed: Any) -> Proposal:
    proposal = Proposal(_history(study), slot, draw, fixed, Sampler.TRANSFER)
    suggest_recipe(proposal, INDIRECT)
    return proposal


def _points(params: dict[str, Any]) -> float:
    return 4.0 * ("c" in params.values()) + params["target.learning_rate"] * 1e4


def _finished(proposal: Proposal, slot: int) -> FrozenTrial:
    return create_trial(
        value=_points(proposal.params),
        params=proposal.params,
        distributions=proposal.distributions,
        user_attrs=TrialNotes(seed=slot).attributes,
    )


def _searched(trials: int) -> optuna.Study:
    study = _study()
    for slot in range(trials):
        study.add_trial(_finished(_proposal(study, slot), slot))
    return study


def test_a_study_is_searched_by_it_unless_its_file_says_otherwise() -> None:
    assert load_study("xtreme_legal").sampler is Sampler.TRANSFER, "the default"
    assert load_study("xtreme_legal", ['sampler="transfer"']).sampler is Sampler.TRANSFER


def test_it_learns_what_pays() -> None:
    study = _searched(40)
    late = [trial.params for trial in study.trials[20:]]
    assert sum("c" in params.values() for params in late) > 8
    best = _table().params[recommend(_history(study).chooser(np.random.default_rng(0)))]
    assert _points(best) == 5.0


def test_the_same_history_and_slot_propose_the_same() -> None:
    one, other = _searched(12), _searched(12)
    assert [x.params for x in one.trials] == [x.params for x in other.trials]
    drawn = {tuple(_proposal(one, 12, draw).params.items()) for draw in range(8)}
    assert len(drawn) > 2


def test_workers_that_ask_before_anyone_tells_do_not_propose_alike() -> None:
    study, proposed = _searched(12), []
    for slot in range(12, 44):
        proposal = _proposal(study, slot)
        proposed.append(frozenset(proposal.params.items()))
        study.add_trial(proposal.as_trial(TrialNotes(seed=slot).attributes))
    assert len(set(proposed)) >= 16


def test_what_is_given_is_kept_and_what_is_not_in_the_space_is_named() -> None:
    study = _searched(8)
    given = {"intermediate.domain": "general", "target.epochs": 2}
    proposal = _proposal(study, 8, **given)
    assert given.items() <= proposal.params.items()
    with raises(
        StorageError,
        subject="study 's'",
        expected="intermediate.domain in general, legal",
        found="'medical' in a trial that was queued",
    ):
        _proposal(study, 9, **{"intermediate.domain": "medical"})


def test_trials_become_runs_by_their_state_beside_the_direct_trainings() -> None:
    study, table = _study(), _table()
    indirect = [i for i, x in enumerate(table.params) if x["intermediate.domain"] != "none"]
    rows = [indirect[place] for place in (0, 0, 40, 80, 100, 120)]
    notes = [
        TrialNotes(seed=0),
        TrialNotes(seed=1),
        TrialNotes(),  # one that was added by hand
        TrialNotes(seed=7),
        TrialNotes(seed=0, failure=Failure.INFEASIBLE),
        TrialNotes(seed=0, failure=Failure.LOST),
    ]
    states = ("COMPLETE", "COMPLETE", "COMPLETE", "RUNNING", "PRUNED", "FAIL")
    for value, (row, note, state) in enumerate(zip(rows, notes, states, strict=True)):
        proposal = Proposal(_history(study), 0, 0, table.params[row], Sampler.TRANSFER)
        suggest_recipe(proposal, INDIRECT)
        study.add_trial(
            create_trial(
                state=TrialState[state],
                value=float(value) if state == "COMPLETE" else None,
                params=proposal.params,
                distributions=proposal.distributions,
                user_attrs=note.attributes,
            )
        )
    direct = [i for i, x in enumerate(table.params) if x["intermediate.domain"] == "none"][:2]
    gains = tuple(DirectGain(table.params[row], 3, -0.5, {"t": -0.5}) for row in direct)
    evidence = replace(_known(), direct=gains).chooser(study.trials).evidence
    runs = evidence.runs
    assert list(zip(runs.recipe, runs.seed, runs.score, strict=True)) == [
        *((row, 3, -0.5) for row in direct),
        (rows[0], 0, 0.0),
        (rows[1], 1, 1.0),
        (rows[2], 0, 2.0),
    ]
    assert list(evidence.recipe_in_flight) == [rows[3]]
    assert list(evidence.seed_in_flight) == [7]
    assert list(evidence.infeasible) == [rows[4]]


def test_the_zero_is_the_best_direct_training_over_all_target_tasks() -> None:
    """Of several, each the best of some target task, and each with a mean over its seeds."""
    first, second = _known().direct[:2]
    gains = (replace(first, gain=-2.0), replace(second, gain=-1.5), replace(second, gain=-0.5))
    best = (first.params, second.params)
    zero = replace(_known(), direct=gains, best=best).zero(_table())
    assert zero == Zero(_table().params.index(second.params), -1.0)


def test_of_several_target_tasks_each_is_searched_for_as_well_as_all_together() -> None:
    """What one gains and another loses is found, though it is nothing in their mean."""
    study, known = _study(), _known()
    direct = tuple(replace(x, by_task={"t": 0.0, "u": 0.0}) for x in known.direct)
    both = replace(known, direct=direct)
    assert (known.tasks, both.tasks) == ((), ("t", "u"))
    for slot in range(24):
        proposal = Proposal(_history(study), slot, 0, {}, Sampler.RANDOM)
        suggest_recipe(proposal, INDIRECT)
        more = 6.0 * ("c" in proposal.params.values())
        study.add_trial(
            create_trial(
                value=0.0,
                params=proposal.params,
                distributions=proposal.distributions,
                user_attrs=TrialNotes(seed=slot, gains={"t": more, "u": -more}).attributes,
            )
        )
    by_hand = _finished(_proposal(study, 50), 50)
    overall, of_t = both.chooser([*study.trials, by_hand]), both.chooser(study.trials, "t")
    assert len(overall.evidence.runs.score) == len(direct) + 25
    assert "c" in _table().params[recommend(of_t)].values()
    assert len(both.chooser([by_hand], "t").evidence.runs.score) == len(direct), "not known"
    history = history_of(study, INDIRECT, both)
    found = {id(history.chooser(np.random.default_rng(seed))) for seed in range(20)}
    assert len(found) == 3


def test_it_proposes_recipes_with_an_intermediate_task_alone() -> None:
    """Also where direct training is by far the best of what is known."""
    study = _study()
    best = tuple(replace(x, gain=20.0) for x in _known().direct)
    history = history_of(study, INDIRECT, replace(_known(), direct=best))
    for slot in range(6):
        proposal = Proposal(history, slot, 0, {}, Sampler.TRANSFER)
        assert suggest_recipe(proposal, INDIRECT).intermediate


def test_of_a_table_that_is_a_sample_what_was_tried_is_known_all_the_same() -> None:
    study, table = _study(), _table()
    small = replace(_known(), table=build_table(SPACE, 12))
    assert not small.table.is_whole
    proposal = _proposal(study, 0)
    study.add_trial(_finished(proposal, 0))
    chooser = small.chooser(study.trials)
    assert len(chooser.evidence.runs.recipe) == len(small.direct) + 1
    assert len(table.params) > len(chooser.table.params)


def test_a_worker_searches_by_it_and_keeps_clear_of_what_diverges(tmp_path: Path) -> None:
    """Through slots, ledger and Optuna on a database, resumed once."""

    def train(recipe: Recipe, seed: int) -> float:
        if recipe.routes[0].intermediate[0].learning_rate == 1e-4:
            raise DivergedError("intermediate stage", "a finite loss", "nan")
        return {"c": 6.0}.get(recipe.intermediate, 1.0)

    url = f"sqlite:///{tmp_path / 'study.db'}"
    for trials in (20, 40):
        loop = Loop(url, str(tmp_path / "cache"), sampler=Sampler.TRANSFER)
        loop.space = SPACE
        loop.run(train, trials)
        found = loop.trials
        loop.storage.close()
    assert len(found) == 40
    tried = {(tuple(x.params.items()), TrialNotes.of(x).seed) for x in found}
    assert len(tried) == 40
    assert sum(x.params.get("intermediate.task") == "c" for x in found[20:]) > 8
    diverged = [x.state is TrialState.PRUNED for x in found]
    assert sum(diverged[20:]) <= sum(diverged[:20])
    assert sum(diverged) < 12
