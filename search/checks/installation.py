"""Whether what is installed is as required. Loads none of it, as any of it may be missing."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from enum import StrEnum

from packaging.requirements import Requirement


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's.

    Attributes:
        name: The part of the machine that was looked at.
        state: How it is.
        found: What it is like, in words.
        advice: What to do; empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.name:<13} {self.found}" + (
            f"; {self.advice}" if self.advice else ""
        )


def check_installation() -> Check:
    """Whether the packages are there, in the versions that this program wants."""
    python = platform.python_version()
    wrong, checked = [], 0
    try:
        wanted = importlib.metadata.requires("transfer-search") or []
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "installation",
            State.PROBLEM,
            f"Python {python}, but transfer-search is not installed",
            "pip install it; from a checkout: pip install -e .",
        )
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue  # of an extra
        checked += 1
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    own = importlib.metadata.version("transfer-search")
    if wrong:
        advice = "pip install --upgrade transfer-search"
        return Check("installation", State.PROBLEM, "; ".join(wrong), advice)
    installed = f"transfer-search {own}, Python {python}, {checked} packages as required"
    return Check("installation", State.OK, installed)
