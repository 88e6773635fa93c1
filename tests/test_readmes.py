"""The READMEs of the packages name files that are there, and every room of a package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search", "objectives", "storage", "spaces")
NAMED = re.compile(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`")


def named_in(package: str) -> list[str]:
    return NAMED.findall((ROOT / package / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_readme_names_files_that_are_there(package: str) -> None:
    there = {path.name for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    missing = [
        name
        for name in named_in(package)
        if not (ROOT / package / name).exists()
        and not (ROOT / name).exists()
        and name not in there  # beside one that is named in full
    ]
    assert not missing


@pytest.mark.parametrize("package", ["search", "objectives"])
def test_a_readme_names_every_folder_of_its_package(package: str) -> None:
    folders = {f"{path.parent.name}/" for path in (ROOT / package).glob("*/__init__.py")}
    assert not folders - set(named_in(package))
