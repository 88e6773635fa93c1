"""`sampler = "transfer"`: what the program's own proposals make of a study in Optuna."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.gains.transfer_gain import TransferGain
from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.answer import recommend
from search.surrogate.recipe_table import RecipeTable, build_table
from search.workers.proposals import History, Proposal
from search.workers.search_model import fresh_seeds
from spaces.dimensions import suggest_recipe
from spaces.errors import DivergedError, StorageError
from spaces.recipe import Recipe
from spaces.studies import Sampler, load_study
from tests.raising import raises
from tests.search_tests.loop import Loop, gain_of, history_of
from tests.studies import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


@cache
def _table() -> RecipeTable:
    return build_table(SPACE)


def _study(name: str = "s") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def _history(study: optuna.Study) -> History:
    return history_of(study, _table())


def _proposal(study: optuna.Study, slot: int, draw: int = 0, **fixed: Any) -> Proposal:
    proposal = Proposal(_history(study), slot, draw, fixed, Sampler.TRANSFER)
    suggest_recipe(proposal, SPACE)
    return proposal


def _points(params: dict[str, Any]) -> float:
    return 4.0 * ("c" in params.values()) + params["target.learning_rate"] * 1e4


def _finished(proposal: Proposal, slot: int) -> FrozenTrial:
    points = _points(proposal.params)
    return create_trial(
        value=points,
        params=proposal.params,
        distributions=proposal.distributions,
        user_attrs=TrialNotes(seeds=(slot,), runs=((slot, points),)).attributes,
    )


def _searched(trials: int) -> optuna.Study:
    study = _study()
    for slot in range(trials):
        study.add_trial(_finished(_proposal(study, slot), slot))
    return study


def test_a_study_file_asks_for_it_by_name() -> None:
    assert load_study("xtreme_legal", ['sampler="transfer"']).sampler is Sampler.TRANSFER


def test_it_learns_what_pays() -> None:
    study = _searched(40)
    late = [trial.params for trial in study.trials[20:]]
    assert sum("c" in params.values() for params in late) > 8
    best = _table().params[recommend(_history(study).chooser)]
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
        study.add_trial(proposal.as_trial(TrialNotes(seeds=(slot,)).attributes))
    assert len(set(proposed)) >= 16


def test_what_is_given_is_kept_and_what_is_not_in_the_space_is_named() -> None:
    study = _searched(8)
    given = {"intermediate.domain": "general", "target.epochs": 2}
    proposal = _proposal(study, 8, **given)
    assert given.items() <= proposal.params.items()
    with raises(
        StorageError,
        subject="study 's'",
        expected="intermediate.domain in none, general, legal",
        found="'medical' in a trial that was queued",
    ):
        _proposal(study, 9, **{"intermediate.domain": "medical"})


def test_trials_become_runs_by_their_state() -> None:
    study = _study()
    params = [_table().params[i] for i in (0, 40, 80, 120, 160)]
    notes = [
        TrialNotes(runs=((0, 1.0), (1, 3.0))),
        TrialNotes(),
        TrialNotes(seeds=(7, 8)),
        TrialNotes(failure=Failure.INFEASIBLE),
        TrialNotes(failure=Failure.LOST),
    ]
    states = ("COMPLETE", "COMPLETE", "RUNNING", "PRUNED", "FAIL")
    for one, note, state in zip(params, notes, states, strict=True):
        proposal = Proposal(_history(study), 0, 0, one, Sampler.TRANSFER)
        suggest_recipe(proposal, SPACE)
        study.add_trial(
            create_trial(
                state=TrialState[state],
                value=2.0 if state == "COMPLETE" else None,
                params=proposal.params,
                distributions=proposal.distributions,
                user_attrs=note.attributes,
            )
        )
    evidence = _history(study).chooser.evidence
    runs = evidence.runs
    assert list(zip(runs.recipe, runs.seed, runs.score, strict=True)) == [
        (0, 0, 1.0),
        (0, 1, 3.0),
        (40, 0, 2.0),
    ]
    assert list(evidence.recipe_in_flight) == [80, 80]
    assert list(evidence.seed_in_flight) == [7, 8]
    assert list(evidence.infeasible) == [120]


def test_a_recipe_that_is_tried_again_has_seeds_of_its_own() -> None:
    study = _study()
    params = dict(_table().params[0])
    assert fresh_seeds(study.trials, params, (0, 1)) == (0, 1)
    study.add_trial(_proposal(study, 0, **params).as_trial({}))
    assert fresh_seeds(study.trials, params, (0, 1)) == (2, 3)
    again = TrialNotes(seeds=(2, 3)).attributes
    study.add_trial(_proposal(study, 1, **params).as_trial(again))
    assert fresh_seeds(study.trials, params, (0, 1)) == (4, 5)
    assert fresh_seeds(study.trials, dict(_table().params[1]), (0, 1)) == (0, 1)


def test_a_worker_searches_by_it_and_keeps_clear_of_what_diverges(tmp_path: Path) -> None:
    """Through slots, ledger and Optuna on a database, resumed once."""

    def train(recipe: Recipe, go_on: Any) -> TransferGain:
        stages = recipe.routes[0].intermediate
        if stages and stages[0].learning_rate == 1e-4:
            raise DivergedError("intermediate stage", "a finite loss", "nan")
        return gain_of({"c": 6.0, "": 0.0}.get(recipe.intermediate, 1.0), recipe.seeds[0])

    url = f"sqlite:///{tmp_path / 'study.db'}"
    for trials in (20, 40):
        loop = Loop(url, str(tmp_path / "cache"), sampler=Sampler.TRANSFER)
        loop.space = SPACE
        loop.run(train, trials)
        found = loop.trials
        loop.storage.close()
    assert len(found) == 40
    tried = [(tuple(x.params.items()), tuple(x.user_attrs.get("seeds", (0,)))) for x in found]
    assert len(set(tried)) == 40
    complete = [x for x in found if x.state is TrialState.COMPLETE]
    assert all(TrialNotes.of(x).runs[0][1] == x.value for x in complete)
    assert sum(x.params.get("intermediate.task.legal") == "c" for x in found[20:]) > 8
    diverged = [x.state is TrialState.PRUNED for x in found]
    assert sum(diverged[20:]) <= sum(diverged[:20])
    assert sum(diverged) < 12
