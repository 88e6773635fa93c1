"""Several intermediate tasks, together or in a row, and targets that are not trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from objectives.backbone import Backbone
from objectives.data.batching import mixed_order
from objectives.models.encoders import ENCODER_FILE, build_model, share_encoder
from objectives.stages.stage import OnProgress, StageProgress
from objectives.transfer import TransferObjective
from spaces.recipe import Method, Part, Recipe, Route, Schedule, Similarity, Stage
from storage.ledger import Ledger
from tests.objectives_tests.toys import (
    RETRIEVAL_STAGE,
    Outcome,
    encoders,
    make_stage,
    make_task,
    run,
    trained,
    with_row,
)

TOGETHER = ('mixtures.both={tasks=["deeds", "acts"]}', 'intermediate.tasks=["both"]')
IN_A_ROW = (
    'mixtures.row={tasks=["deeds", "acts"], order="in-a-row"}',
    'mixtures.other={tasks=["deeds", "rulings"], order="in-a-row"}',
    'intermediate.tasks=["deeds", "row", "other"]',
)
RETRIEVAL = 'target.tasks=["sentences"]'


@pytest.fixture
def together() -> Stage:
    """Two batches of deeds to one of acts."""
    return make_stage(
        "both",
        examples=12,
        parts=(Part("deeds", 8), Part("acts", 4)),
        schedule=Schedule.CONSTANT,
    )


def one_target(recipe: Recipe, *row: Stage) -> Recipe:
    """The recipe with names as its only target."""
    return with_row(replace(recipe, routes=recipe.routes[:1]), *row)


def intermediate_updates(outcome: Outcome) -> list[int]:
    """Updates trained in the intermediate stages that were not found."""
    return [
        run.updates_trained
        for run in outcome.stage_runs
        if run.position == "intermediate" and run.updates_trained
    ]


# --- together


def test_every_batch_is_of_one_task_and_tasks_have_batches_by_their_examples() -> None:
    lengths = [np.full(40, 9), np.full(12, 9), np.full(5, 9)]
    batches = mixed_order(lengths, 4, 0, 0)
    assert [sum(task == number for task, _ in batches) for number in range(3)] == [10, 3, 2]
    for number, of_task in enumerate(lengths):
        rows = np.concatenate([rows for task, rows in batches if task == number])
        assert sorted(rows) == list(range(len(of_task)))
    tasks = [task for task, _ in batches]
    assert tasks != sorted(tasks), "they take turns"
    other = [[task for task, _ in mixed_order(lengths, 4, *seed)] for seed in ((0, 1), (1, 0))]
    assert tasks not in other
    again = mixed_order(lengths, 4, 0, 0)
    assert all(a == b and (x == y).all() for (a, x), (b, y) in zip(batches, again, strict=True))


def test_heads_of_every_kind_share_one_encoder(bert: Backbone) -> None:
    """A change by one is a change for all; the head of MLM has the embeddings for its output."""
    kinds = ("ner", "mlm", "classification", "qa", "similarity")
    models = [build_model(bert, bert.weights, make_task(kind), 0) for kind in kinds]
    owner = share_encoder(models)
    assert owner in models
    assert bert.weights.keys() <= owner.base_model.state_dict().keys()
    assert all(model.base_model is owner.base_model for model in models)
    embeddings = owner.get_input_embeddings().weight
    assert models[1].get_output_embeddings().weight is embeddings
    inputs = {"input_ids": torch.tensor([[2, 7, 8, 3]])}
    before = [model.eval()(**inputs)[0].detach() for model in models]
    with torch.no_grad():
        owner.base_model.encoder.layer[0].output.dense.bias += 1
    for model, logits in zip(models, before, strict=True):
        assert not torch.equal(model(**inputs)[0], logits)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"parts": (Part("deeds", 8), Part("rulings", 4))},
        {"frozen_layers": 1},
        {"method": Method.LORA, "lora_rank": 2},
    ],
    ids=["two heads", "with mlm", "frozen layer", "lora"],
)
def test_a_mixture_trains_the_encoder_on_all_its_tasks(
    changes: dict[str, object],
    make_objective: Callable[..., TransferObjective],
    recipe: Recipe,
    together: Stage,
) -> None:
    """One stage of the updates of both, and other weights than either task's alone."""
    stage = replace(together, **changes)
    names = [part.task for part in stage.parts]
    mixture = f'mixtures.both={{tasks=["{names[0]}", "{names[1]}"]}}'
    tasks = f'intermediate.tasks=["{names[0]}", "{names[1]}", "both"]'
    objective = make_objective(mixture, tasks)
    outcome = run(objective, one_target(recipe, stage))
    assert trained(outcome) == [("intermediate", "both"), ("target", "names")]
    assert intermediate_updates(outcome) == [3] == [stage.updates]
    for part in stage.parts:
        alone = replace(stage, task=part.task, examples=part.examples, parts=())
        assert intermediate_updates(run(objective, one_target(recipe, alone))) == [
            part.examples // 4
        ]
    files = set()
    for entry in objective.cache.entries():
        checkpoint = objective.cache.find(entry.inputs)
        assert checkpoint is not None
        files.add((checkpoint.folder / ENCODER_FILE).read_bytes())
    assert len(files) == 3


def test_a_longer_mixture_goes_on_from_a_shorter_one_to_the_same_bits(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, together: Stage
) -> None:
    choices = (*TOGETHER, "intermediate.epochs=[2, 3]")
    run(make_objective(*choices), one_target(recipe, replace(together, epochs=2)))
    objective = make_objective(*choices)
    longer = one_target(recipe, replace(together, epochs=3))
    outcome = run(objective, longer)
    assert intermediate_updates(outcome) == [3]
    afresh = make_objective(*TOGETHER, "intermediate.epochs=3", place="afresh")
    scratch = run(afresh, longer)
    assert intermediate_updates(scratch) == [9]
    assert encoders(objective)[3] == encoders(afresh)[3]
    assert outcome.pairs == scratch.pairs


def test_other_shares_or_another_order_of_the_parts_are_another_stage(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, together: Stage
) -> None:
    run(make_objective(*TOGETHER), one_target(recipe, together))
    deeds, acts = together.parts
    for parts in ((Part("deeds", 4), Part("acts", 8)), (acts, deeds)):
        other = one_target(recipe, replace(together, parts=parts))
        assert intermediate_updates(run(make_objective(*TOGETHER), other)) == [3]
    assert not trained(run(make_objective(*TOGETHER), one_target(recipe, together)))


# --- in a row


def test_rows_that_begin_alike_share_the_checkpoint_of_the_first_stage(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, ledger: Ledger
) -> None:
    deeds, acts, rulings = (
        make_stage(name, schedule=Schedule.CONSTANT) for name in ("deeds", "acts", "rulings")
    )
    first = run(make_objective(*IN_A_ROW), one_target(recipe, deeds, acts))
    keys = {x.task: x.checkpoint_key for x in first.stage_runs if x.position == "intermediate"}
    assert keys.keys() == {"deeds", "acts"}
    for number, row in enumerate([(deeds, rulings), (deeds,), (deeds, acts)]):
        outcome = run(make_objective(*IN_A_ROW), one_target(recipe, *row))
        begun = next(x for x in outcome.stage_runs if x.position == "intermediate")
        assert begun.checkpoint_key == keys["deeds"]
        expected = [[("intermediate", "rulings")], [], []][number]
        assert [x for x in trained(outcome) if x[0] == "intermediate"] == expected
    for number, stage_run in enumerate(first.stage_runs):
        ledger.record_stage_run("toy", number, stage_run)
    stages = ledger.trained_stages("toy")
    assert stages[keys["acts"]].parent_key == keys["deeds"]
    (scored,) = (x for x in first.stage_runs if x.position == "target" and x.updates_asked)
    assert stages[scored.checkpoint_key].parent_key == keys["acts"]


def test_the_order_of_a_row_matters(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    deeds, acts = (make_stage(name, schedule=Schedule.CONSTANT) for name in ("deeds", "acts"))
    run(make_objective(*IN_A_ROW), one_target(recipe, deeds, acts))
    turned = run(make_objective(*IN_A_ROW), one_target(recipe, acts, deeds))
    assert [x for x in trained(turned) if x[0] == "intermediate"] == [
        ("intermediate", "acts"),
        ("intermediate", "deeds"),
    ]


# --- retrieval


def test_a_retrieval_target_is_scored_and_not_trained(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    row = recipe.routes[0].intermediate
    searched = replace(recipe, routes=(Route(row, RETRIEVAL_STAGE),))
    bare = run(make_objective(RETRIEVAL), with_row(searched))
    assert not trained(bare)
    outcome = run(make_objective(RETRIEVAL), searched)
    assert trained(outcome) == [("intermediate", "deeds")]
    places = [(pair.score.task, pair.score.language) for pair in outcome.pairs]
    assert places == [("sentences", "swa"), ("sentences", "yor")]
    for pair, alone in zip(outcome.pairs, bare.pairs, strict=True):
        assert pair.score.checkpoint_key != alone.score.checkpoint_key
        assert pair.score.examples == 12
        assert (6 * pair.score.score) % 1 == pytest.approx(0)


def note_ends(positions: list[str]) -> OnProgress:
    """A listener that notes what came to its end."""

    def on_progress(progress: StageProgress) -> None:
        if progress.done == progress.total:
            positions.append(progress.position)

    return on_progress


@pytest.mark.parametrize(
    "change", [{"pooled_layer": 0}, {"similarity": Similarity.MARGIN}, {"max_length": 8}]
)
def test_another_layer_or_similarity_is_scored_anew(
    change: dict[str, object], make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    scored: list[str] = []
    for stage in (RETRIEVAL_STAGE, replace(RETRIEVAL_STAGE, **change), RETRIEVAL_STAGE):
        objective = make_objective(
            RETRIEVAL,
            f"target.pooled_layer={stage.pooled_layer}",
            f"target.similarity={stage.similarity}",
            on_progress=note_ends(scored),
        )
        run(objective, replace(recipe, routes=(Route((), stage),)))
    assert scored == ["scoring", "scoring"]


def test_without_an_intermediate_stage_all_seeds_retrieve_the_same(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    """Nothing is drawn: it is scored once for all of them."""
    bare = replace(recipe, routes=(Route((), RETRIEVAL_STAGE),))
    scored: list[str] = []
    objective = make_objective(RETRIEVAL, on_progress=note_ends(scored))
    pairs = [pair for seed in (0, 1) for pair in run(objective, bare, seed).pairs]
    assert scored == ["scoring"]
    assert {pair.seed for pair in pairs} == {0, 1}
    assert len({pair.score.checkpoint_key for pair in pairs}) == 1
