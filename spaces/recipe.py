"""Recipes: the points of the search space, frozen and comparable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Schedule(StrEnum):
    """The course of the learning rate over a stage.

    CONSTANT warms up within the first epoch and then stays, so that k epochs are a prefix of
    k + 1 epochs. LINEAR warms up over a share of all updates and then falls to zero.
    """

    CONSTANT = "constant"
    LINEAR = "linear"


class Method(StrEnum):
    """Which weights a stage trains.

    FULL trains all but `Stage.frozen_layers`. LORA trains low-rank changes of the attention's
    weights (Hu et al. 2022, section 4, https://arxiv.org/abs/2106.09685) and merges them in the
    end. SOFT_PROMPT trains vectors before the text (Lester et al. 2021, section 2,
    https://arxiv.org/abs/2104.08691). The head is trained by all of them.
    """

    FULL = "full"
    LORA = "lora"
    SOFT_PROMPT = "soft-prompt"


class Similarity(StrEnum):
    """How near two sentence vectors are.

    MARGIN divides the cosine by the mean cosine with the four nearest neighbours on both sides
    (Artetxe & Schwenk 2019, section 3, https://aclanthology.org/P19-1309).
    """

    COSINE = "cosine"
    MARGIN = "margin"


@dataclass(frozen=True)
class Part:
    """One task's share of a mixture.

    Attributes:
        task: Name in the catalogue.
        examples: Training examples, a multiple of the batch size unless the task has fewer.
    """

    task: str
    examples: int


@dataclass(frozen=True)
class Stage:
    """One training of an encoder on one task, or on several at once.

    Attributes:
        task: Name in the catalogue, or of a mixture.
        epochs: Passes over the examples, >= 1; 0 for retrieval, which is not trained.
        learning_rate: Peak rate, > 0; 0 for retrieval.
        batch_size: Examples per update, >= 1.
        examples: Training examples, >= 1; the same for every arm unless the study searches it.
        warmup_ratio: Share of the updates that warm up, in [0, 1): of the first epoch under
            `Schedule.CONSTANT`, of the whole stage under `Schedule.LINEAR`.
        max_length: Longest input, in sub-words.
        schedule: Course of the learning rate.
        method: Which weights are trained.
        frozen_layers: Number of lower layers that `Method.FULL` leaves as they are, with the
            embeddings unless it is 0.
        lora_rank: Rank of the changes of `Method.LORA`; else 0.
        prompt_length: Vectors of `Method.SOFT_PROMPT`; else 0.
        shots: Examples per class, where the examples are few shots; else 0.
        parts: Shares of a mixture's tasks, trained together batch by batch; empty for a single
            task.
        pooled_layer: Retrieval: the layer whose states are averaged; 0 is the embeddings, and
            negative counts from the last.
        similarity: Retrieval: how near two sentences are.
    """

    task: str
    epochs: int
    learning_rate: float
    batch_size: int
    examples: int
    warmup_ratio: float
    max_length: int
    schedule: Schedule
    method: Method = Method.FULL
    frozen_layers: int = 0
    lora_rank: int = 0
    prompt_length: int = 0
    shots: int = 0
    parts: tuple[Part, ...] = ()
    pooled_layer: int = 0
    similarity: Similarity = Similarity.COSINE

    @property
    def setting(self) -> str:
        """What a target stage is scored at, in words: `4 epochs`, or `layer 7, margin`."""
        if self.epochs:
            return f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return f"layer {self.pooled_layer}, {self.similarity}"

    @property
    def has_prefixes(self) -> bool:
        """Whether fewer epochs are the beginning of more, and can be gone on from.

        LoRA's changes are merged into the weights in the end, and cannot be told apart from them.
        """
        return self.schedule is Schedule.CONSTANT and self.method is Method.FULL

    @property
    def without_epochs(self) -> Stage:
        """The stage as it is known by whoever may go on with it."""
        return replace(self, epochs=1)

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last batch of each task may be smaller."""
        sizes = [part.examples for part in self.parts] or [self.examples]
        return sum(-(-size // self.batch_size) for size in sizes)

    @property
    def updates(self) -> int:
        """Optimizer steps in the whole stage."""
        return self.epochs * self.updates_per_epoch


def untrained_stage(
    task: str, max_length: int, pooled_layer: int = -1, similarity: Similarity = Similarity.COSINE
) -> Stage:
    """A stage that trains nothing: of retrieval, or of a model that is scored as it is.

    Args:
        task: Name in the catalogue.
        max_length: Longest input, in sub-words.
        pooled_layer: As of `Stage`.
        similarity: As of `Stage`.
    """
    return Stage(
        task=task,
        epochs=0,
        learning_rate=0.0,
        batch_size=1,
        examples=0,
        warmup_ratio=0.0,
        max_length=max_length,
        schedule=Schedule.CONSTANT,
        pooled_layer=pooled_layer,
        similarity=similarity,
    )


@dataclass(frozen=True)
class Route:
    """The stages that lead to one target, each starting from the one before.

    Attributes:
        intermediate: Intermediate stages in the order of training; empty in the arm "none".
        target: Target stage, which is scored; of its settings (`spaces.dimensions.settings_of`)
            each seed takes the one with the highest validation score.
    """

    intermediate: tuple[Stage, ...]
    target: Stage


@dataclass(frozen=True)
class Recipe:
    """The trainings of a run: an encoder, perhaps intermediate stages, then each target.

    Attributes:
        backbone: Name or folder of the pretrained encoder.
        intermediate: Name of the intermediate task or mixture; empty in the arm "none".
        routes: Stages on the way to each target task. The target stages are alike but for their
            tasks; each starts from its intermediate checkpoint (or the backbone), never from
            another target's.
    """

    backbone: str
    intermediate: str
    routes: tuple[Route, ...]
