"""Claims in a study file: published findings that its trials speak for or against."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from spaces.errors import SpecError
from spaces.records import Names, StrictRecord


class ClaimKind(StrEnum):
    """What a published finding says of the trials of a study, target task by target task."""

    BEST_BACKBONE = "best-backbone"
    """The backbone has the highest score of all in more target tasks than any other."""
    LAST_BACKBONE = "last-backbone"
    """The backbone has the lowest best score in most target tasks."""
    DIRECT_IS_BETTER = "direct-is-better"
    """Without an intermediate task the best score is higher in most target tasks."""
    INTERMEDIATE_IS_BETTER = "intermediate-is-better"
    """With an intermediate task the best score is higher in most target tasks."""


class ClaimSpec(StrictRecord):
    """A published finding that the trials of a study speak for or against."""

    text: str
    """The finding in words, and its place in the paper."""
    kind: Annotated[ClaimKind, Field(strict=False)]
    backbone: str = ""
    targets: Names = ()
    """Target tasks that the finding is about; empty means all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.backbone and self.kind in {ClaimKind.BEST_BACKBONE, ClaimKind.LAST_BACKBONE}:
            raise SpecError("backbone", f"a backbone for kind {self.kind}", "none")
        return self
