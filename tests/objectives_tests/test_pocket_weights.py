"""The pocket encoder's weights: the same everywhere, with what their rules write into them."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from transformers import BertModel

from objectives.pocket.encoder import pocket_morphemes, pocket_vocabulary
from objectives.pocket.weights import pocket_backbone, pocket_weights

# Drawn, and made of what is drawn.
SOME = [0.075665206, 0.032677054, 0.017704781]
WORDS = [0.037688471, 0.000063070, -0.058823168]


def test_they_are_the_same_at_each_call_and_leave_random_numbers_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = pocket_weights()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = pocket_weights()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_they_are_those_of_every_machine() -> None:
    weights = pocket_weights()
    some = weights["encoder.layer.1.output.dense.weight"][0, :3].tolist()
    assert some == pytest.approx(SOME, abs=1e-6)
    words = weights["embeddings.word_embeddings.weight"][-1, :3].tolist()
    assert words == pytest.approx(WORDS, abs=1e-6)


def test_sub_words_that_mean_the_same_are_near_each_other() -> None:
    embeddings = pocket_weights()["embeddings.word_embeddings.weight"]
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    by_meaning: dict[str, list[int]] = {}
    for i, piece in enumerate(pocket_vocabulary()):
        if piece in pocket_morphemes():
            by_meaning.setdefault(pocket_morphemes()[piece].meaning, []).append(i)
    same = [float(unit[a] @ unit[b]) for x in by_meaning.values() for a, b in combinations(x, 2)]
    firsts = unit[[x[0] for x in by_meaning.values()]]
    others = (firsts @ firsts.T).triu(1)
    assert len(same) > 500
    assert sum(same) / len(same) == pytest.approx(0.9, abs=0.02)
    assert others.mean().abs() < 0.05


def test_one_head_looks_before_one_dimly_after_and_one_everywhere() -> None:
    backbone = pocket_backbone()
    model = BertModel(backbone.config, add_pooling_layer=False).eval()
    model.load_state_dict(backbone.weights)
    model.set_attn_implementation("eager")
    ids = torch.arange(100, 112)[None]
    with torch.no_grad():
        layers = model(ids, output_attentions=True).attentions
    for attention in layers:
        after, before, everywhere, _ = attention[0]
        for place in range(1, 11):
            assert int(before[place].argmax()) == place - 1
            assert before[place].max() > 0.8
            assert int(after[place].argmax()) == place + 1
            assert 0.1 < after[place].max() < 0.6
        assert torch.allclose(everywhere, torch.full_like(everywhere, 1 / 12))
