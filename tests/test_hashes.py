"""Continuous integration installs what the constraints say, and knows each file's hash."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
HASHED = re.compile(r"^(\S+)==(\S+) (?:;.*)?\\\n +--hash=sha256:[0-9a-f]{64}", re.MULTILINE)


def test_every_constraint_has_hashes_of_the_same_version() -> None:
    text = (ROOT / ".ci" / "hashes.txt").read_text()
    hashed = dict(HASHED.findall(text))
    assert len(hashed) == sum(line[0].isalnum() for line in text.splitlines())
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [x.split("==") for x in lines if not x.startswith("#")]
    assert hashed.items() >= {(re.sub(r"[-_.]+", "-", x).lower(), y) for x, y in pinned}
