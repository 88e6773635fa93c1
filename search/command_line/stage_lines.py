"""What a command that trains a model again says while it does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from objectives.stages.stage import StageProgress


def print_stage(stage: StageProgress) -> None:
    """Print a line on standard error as a stage begins; nothing at its other updates."""
    if stage.done == 1:
        print(f"{stage.position} {stage.task}: {stage.total} updates", file=sys.stderr)
