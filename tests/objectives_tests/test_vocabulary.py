"""Training on the used part of the vocabulary comes to the same as training on all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from objectives.backbone import Backbone
from objectives.data.encoding import EncodedSplit
from objectives.models.encoders import build_model
from objectives.training import fine_tuning as training
from objectives.training.fine_tuning import finetune
from objectives.training.used_rows import Vocabulary
from spaces.errors import Interrupted
from tests.objectives_tests.toys import make_stage, make_task, runner_for, toy_split

Weights = dict[str, torch.Tensor]


@pytest.fixture
def train(any_backbone: Backbone) -> Callable[[], tuple[Weights, EncodedSplit]]:
    """Train an encoder of each family for three epochs on a few sentences."""
    task, split = make_task("ner"), toy_split("ner", 4, any_backbone)

    def run() -> tuple[Weights, EncodedSplit]:
        model = build_model(any_backbone, any_backbone.weights, task, seed=0)
        stage = make_stage(epochs=3, learning_rate=1e-3)
        finetune([(model, split)], stage, 0, runner_for(any_backbone))
        return model.state_dict(), split

    return run


def test_the_weights_are_those_of_training_on_the_whole_vocabulary(
    train: Callable[[], tuple[Weights, EncodedSplit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed, _ = train()
    monkeypatch.setattr(training, "trimmed_vocabulary", lambda model, *all: Vocabulary(*all))
    whole, _ = train()
    assert trimmed.keys() == whole.keys()
    for name, weight in whole.items():
        # Adam divides by the root of squared gradients, which magnifies the last bit of a sum
        # that was added up in another order; the step itself is 1e-3.
        torch.testing.assert_close(trimmed[name], weight, rtol=1e-4, atol=2e-5)


def test_rows_that_no_example_uses_stay_as_they_were(
    train: Callable[[], tuple[Weights, EncodedSplit]], any_backbone: Backbone
) -> None:
    trained, split = train()
    used = {int(i) for ids in split.input_ids for i in ids}
    unused = sorted(set(range(len(any_backbone.tokenizer))) - used)
    assert unused
    changed = 0
    for name, before in any_backbone.weights.items():
        if "word_embedding" in name or "tok_embeddings" in name:
            after = next(w for key, w in trained.items() if key.endswith(name))
            assert after.shape == before.shape
            assert torch.equal(after[unused], before[unused])
            changed += int(not torch.equal(after, before))
    assert changed == 1


def test_a_stage_that_ends_early_leaves_a_whole_vocabulary(any_backbone: Backbone) -> None:
    """In any family the training sees a part of it: padding may be the last of all ids."""
    split = toy_split("ner", 4, any_backbone)
    model = build_model(any_backbone, any_backbone.weights, make_task("ner"), seed=0)
    whole = model.get_input_embeddings().num_embeddings
    during: list[int] = []

    def stop(done: int, total: int) -> None:
        during.append(model.get_input_embeddings().num_embeddings)
        raise Interrupted("stop")

    runner = runner_for(any_backbone, stop)
    with pytest.raises(Interrupted):
        finetune([(model, split)], make_stage(), 0, runner)
    used = {int(i) for ids in split.input_ids for i in ids}
    assert len(used) < during[0] <= len(used) + 6 < whole
    assert model.get_input_embeddings().num_embeddings == whole
