"""Every error that a user can cause, and how a wrong name is answered.

The command line turns a `TransferSearchError` into one line and exit code 2. Anything else
that reaches it is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


class TransferSearchError(Exception):
    """Base of the errors a user can cause: says what was expected, what was found, what to do."""


class SpecError(TransferSearchError, ValueError):
    """A study file, a catalogue record or an option does not say what it must."""


class UnknownNameError(TransferSearchError, LookupError):
    """A task, study, language or field of that name does not exist."""


class DataError(TransferSearchError, ValueError):
    """A corpus cannot be read, or is not what its catalogue record says."""


class BackboneError(TransferSearchError, ValueError):
    """An encoder cannot be loaded, or not in the way that this program allows."""


class StorageError(TransferSearchError, RuntimeError):
    """A study's storage cannot be opened, or holds something else than this study."""


class CacheError(TransferSearchError, OSError):
    """The checkpoint cache cannot be opened or written; the trial fails, the study goes on."""


class DivergedError(TransferSearchError, ArithmeticError):
    """Training left the finite numbers; the recipe is infeasible, the study goes on."""


class DeviceMemoryError(TransferSearchError, MemoryError):
    """Not even one example fits on the device; the recipe is infeasible, the study goes on."""


class Interrupted(TransferSearchError):
    """The run was asked to stop; raised between two updates, never in the middle of one."""


class BudgetSpent(Interrupted):
    """The study's time or its device time is used up; a larger budget goes on from there."""


class TrialLost(TransferSearchError):
    """Another worker has taken this one's trial over, which was held up; nothing is published."""


class StudyStopped(TransferSearchError):
    """A worker stopped the study for all of them: the same error came twice."""


def unknown_name(what: str, name: str, known: Collection[str], where: str) -> UnknownNameError:
    """The error for `name`, with the nearest right name, or all of them where there are few.

    Example:
        `Task 'mnl' is not in the catalogue of 84 tasks. Did you mean 'mnli'?`
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        hint = f"Did you mean {near[0]!r}?"
    else:
        hint = f"Known: {', '.join(sorted(known)) or 'none'}."
    return UnknownNameError(f"{what} {name!r} is not {where}. {hint}")
