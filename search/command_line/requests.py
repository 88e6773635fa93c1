"""From a command line to a request: the frozen value that a command's one function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def request_from(options: Mapping[str, object], kind: Callable[..., T], **further: object) -> T:
    """A request, each field from the option of its name.

    Args:
        options: Parsed options, with one for every field that is not in `further`.
        kind: Frozen dataclass of the request.
        further: Values of fields that are no option, or of another type than the option's.
    """
    names = inspect.signature(kind).parameters.keys() - further.keys()
    return kind(**{name: options[name] for name in names}, **further)


def quiet_optuna() -> None:
    """Let Optuna log errors only."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
