"""Weights in the precision that they are computed with, beside the exact ones that are trained.

Autocast rounds each weight of a linear layer to bfloat16 again in every forward pass, and its
gradient back: at 12 layers 290 of 1,150 kernels of an update, each of a few microseconds, on a
card that waits for its next kernel most of the time. Here the rounded weights stay, and are
rounded anew once per update, all by one kernel. What comes out is the same to the last bit.

Only weights that linear layers alone use are kept twice. Embeddings and normalisations compute
in float32 under autocast, and so does what shares its weights with them: the output matrix of
masked language modelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Masters:
    """Float32 weights that an optimizer changes, each with the bfloat16 leaf that computes.

    Attributes:
        weights: Trained weights, float32, out of the model meanwhile.
        leaves: Trained weights as the model has them, bfloat16, in the same order.
        in_models: A context in which the linear layers have their bfloat16 weights, trained or
            not, to be entered as often as the training goes on. Outside of it they have their
            float32 ones, as trained so far.
    """

    weights: tuple[nn.Parameter, ...] = ()
    leaves: tuple[nn.Parameter, ...] = ()
    in_models: Callable[[], AbstractContextManager[None]] = nullcontext

    def collect(self) -> None:
        """Add the leaves' gradients to those of the float32 weights; to be called per backward.

        Each backward pass begins at no gradient in bfloat16, so that pieces of a batch are summed
        in float32, as autocast does it.
        """
        first, more, sums = [], [], []
        for weight, leaf in zip(self.weights, self.leaves, strict=True):
            if leaf.grad is None:
                continue
            if weight.grad is None:
                weight.grad = torch.empty_like(weight)
                first.append((weight.grad, leaf.grad))
            else:
                sums.append(weight.grad)
                more.append(leaf.grad)
            leaf.grad = None
        if first:
            torch._foreach_copy_([to for to, _ in first], [of for _, of in first])
        if more:
            torch._foreach_add_(sums, [gradient.float() for gradient in more])

    @torch.no_grad()
    def publish(self) -> None:
        """Round the trained weights into the leaves; to be called after each optimizer step."""
        if self.leaves:
            torch._foreach_copy_(self.leaves, self.weights)


def bfloat16_leaves(models: Sequence[nn.Module]) -> Masters:
    """Bfloat16 weights for linear layers, whose own parameters stand aside while they are in.

    Args:
        models: Models that are computed under autocast to bfloat16; they may share modules.
    """
    places = _linear_places(models)
    leaves: dict[int, nn.Parameter] = {}
    for _, _, weight in places:
        if id(weight) not in leaves:
            rounded = weight.detach().to(torch.bfloat16)
            leaves[id(weight)] = nn.Parameter(rounded, weight.requires_grad)
    trained = {id(weight): weight for _, _, weight in places if weight.requires_grad}

    @contextmanager
    def in_models() -> Iterator[None]:
        try:
            for module, name, weight in places:
                setattr(module, name, leaves[id(weight)])
            yield
        finally:
            for module, name, weight in places:
                setattr(module, name, weight)

    return Masters(tuple(trained.values()), tuple(leaves[key] for key in trained), in_models)


def _linear_places(models: Sequence[nn.Module]) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Float32 parameters that stand in linear layers and nowhere else: (layer, name, weight)."""
    linear: list[tuple[nn.Module, str, nn.Parameter]] = []
    elsewhere = set[int]()
    for module in dict.fromkeys(module for model in models for module in model.modules()):
        for name, weight in module.named_parameters(recurse=False):
            if type(module) is nn.Linear and weight.dtype is torch.float32:
                linear.append((module, name, weight))
            else:
                elsewhere.add(id(weight))
    return [place for place in linear if id(place[2]) not in elsewhere]
