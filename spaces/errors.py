"""Every error that a user can cause, and how a wrong name is answered.

The command line turns a `TransferSearchError` into one line and exit code 2. Anything else
that reaches it is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LONGEST_PART = 240
"""Characters of a subject or of what was found that an error shows; of more, both ends."""
LONGEST_LINE = 1600
"""Characters of an error in one line."""
# Names of more characters are like no other.
_LONGEST_NAME = 100


class TransferSearchError(Exception):
    """Base of the errors a user can cause, rendered as one sentence from its fields.

    `subject: expected X, found Y; advice`, each part left out where it is empty. An error with a
    subject alone is that sentence.

    Attributes:
        subject: The wrong option, file, study or field, as in `--to` or `FILE, line 3`.
        expected: The values that are right.
        found: The value that was there instead.
        advice: The user's next step, as in `rename it`.
        details: Lines that belong below the sentence, where it is about many things of a kind.
    """

    def __init__(
        self,
        subject: str,
        expected: str = "",
        found: str = "",
        advice: str = "",
        details: tuple[str, ...] = (),
    ) -> None:
        self.subject, self.expected, self.found, self.advice = subject, expected, found, advice
        self.details = details
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        facts = [f"expected {self.expected}"] if self.expected else []
        if found := shortened(self.found, LONGEST_PART):
            facts.append(f"found {found}" if self.expected else found)
        said = ": ".join(filter(None, (shortened(self.subject, LONGEST_PART), ", ".join(facts))))
        return "; ".join(filter(None, (said, self.advice)))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        fields = (self.subject, self.expected, self.found, self.advice, self.details)
        return type(self), fields


class SpecError(TransferSearchError, ValueError):
    """A study file, a catalogue record or an option does not say what it must."""


class SeveralErrors(SpecError):
    """A study file or a record has more than one thing wrong; the fields are those of the first.

    Attributes:
        errors: All of them, in order.
    """

    def __init__(self, errors: Sequence[TransferSearchError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.subject, first.expected, first.found, first.advice)

    def _sentence(self) -> str:
        return "; and ".join(map(str, self.errors))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.errors,)


class Problems:
    """Collects what is wrong, so that all of it is said at once."""

    def __init__(self) -> None:
        self._found = list[TransferSearchError]()

    def note(self, error: TransferSearchError) -> None:
        """Note an error."""
        self._found.append(error)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note an error that is raised within."""
        try:
            yield
        except SeveralErrors as error:
            self._found += error.errors
        except (SpecError, UnknownNameError) as error:
            self.note(error)

    def raise_all(self) -> None:
        """Raise what was noted, if anything was.

        Raises:
            SpecError: One thing was, or several (`SeveralErrors`).
            UnknownNameError: One thing was, a name.
        """
        distinct = list({str(error): error for error in self._found}.values())
        if len(distinct) == 1:
            raise distinct[0]
        if distinct:
            raise SeveralErrors(distinct)


class UnknownNameError(TransferSearchError, LookupError):
    """A task, study, language or field of that name does not exist.

    Attributes:
        subject: The kind of thing, as in `Task`.
        expected: The place without that name, as in `in the catalogue of 84 tasks`.
        found: The name that the user gave.
        advice: The nearest right name, or all of them where there are few.
    """

    def _sentence(self) -> str:
        advice = self.advice[:1].upper() + self.advice[1:]
        stop = "" if advice.endswith("?") else "."
        found = shortened(repr(self.found), LONGEST_PART)
        subject = shortened(self.subject, LONGEST_PART)
        return f"{subject} {found} is not {self.expected}. {advice}{stop}"


class DataError(TransferSearchError, ValueError):
    """A corpus cannot be read, or is not what its catalogue record says."""


class BackboneError(TransferSearchError, ValueError):
    """An encoder cannot be loaded, or not in the way that this program allows."""


class StorageError(TransferSearchError, RuntimeError):
    """A study's storage cannot be opened, or holds something else than this study."""


class StudyGoneError(StorageError, KeyError):
    """Somebody deleted or renamed a study in Optuna while it was open."""

    __str__ = TransferSearchError.__str__


class CacheError(TransferSearchError, OSError):
    """The checkpoint cache cannot be opened or written; the trial fails, the study goes on."""


class CacheClosedError(CacheError):
    """The checkpoint cache will not be writable by itself: the worker ends at once."""


class DivergedError(TransferSearchError, ArithmeticError):
    """Training left the finite numbers; the recipe is infeasible, the study goes on."""


class DeviceMemoryError(TransferSearchError, MemoryError):
    """Not even one example fits on the device; the recipe is infeasible, the study goes on."""


class Interrupted(TransferSearchError):
    """The run was asked to stop; raised between two updates, never in the middle of one."""


class BudgetSpent(Interrupted):
    """The study's time or its device time is used up; a larger budget goes on from there."""


class TrialLost(TransferSearchError):
    """Another worker took over a trial that was paused past its lease; nothing is published."""


class StudyStopped(TransferSearchError):
    """A worker stopped the study for all of them: the same error came twice."""


def unknown_name(what: str, name: str, known: Collection[str], where: str) -> UnknownNameError:
    """The error for a name that does not exist, with the nearest right name or all of them.

    Args:
        what: The kind of thing, as in `Task`.
        name: The name that the user gave.
        known: The names that exist.
        where: The place without that name, as in `in the catalogue of 84 tasks`.

    Example:
        `Task 'mnl' is not in the catalogue of 84 tasks. Did you mean 'mnli'?`
    """
    return UnknownNameError(what, where, name, nearest_name(name, known))


def shortened(text: str, limit: int) -> str:
    """A text of at most about `limit` characters: of a longer one both ends, and its length."""
    if len(text) <= limit:
        return text
    return f"{text[: limit * 2 // 3]} ... {text[-limit // 4 :]} ({len(text):,} characters)"


def spelled(value: object) -> str:
    """A value as Python spells it; of numbers with thousands of digits their kind."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"{type(value).__name__} that is too large to show"


def one_line(text: str) -> str:
    """A message in one line that a person can read: without control characters, and not long."""
    line = " ".join(shortened(text, 4 * LONGEST_LINE).split())
    shown = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in line)
    return shortened(shown, LONGEST_LINE)


def first_line(error: BaseException) -> str:
    """The first line of what a library says of an error; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest_name(name: str, known: Collection[str]) -> str:
    """The known name most like a wrong one, or all known names where none is like it.

    Example:
        `did you mean 'mnli'?`, or `known: general, legal`.
    """
    near = []
    if len(name) <= _LONGEST_NAME:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
