"""What else was seen of a study's test splits, and which other studies have the same ones.

A verdict is as sure as it says where its test splits told nobody anything before. So whatever
shows something of them is kept in the ledger and stands beside the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.findings.confirmation import error_left, looks_of
from search.findings.verdict_words import error_left_line
from search.studies.baseline import study_of_baseline
from search.studies.definition import StudyDefinition
from search.studies.stored_study import StoredStudy
from spaces.catalogue import Catalogue
from spaces.studies import StudySpec

SHOWN = 4


def test_split_lines(study: StoredStudy) -> list[str]:
    """What stands beside a study's verdict; empty where there is nothing to say."""
    return [*_reads(study), *_shared(study), *_left(study)]


def shared_with(study: StoredStudy) -> dict[str, tuple[str, ...]]:
    """Other studies of the database -> the test splits that they share, as `panx swa`.

    A test split is known by its task, its language and the validation split beside it, as a
    search reads no test split.
    """
    mine = _targets(study.definition, study.spec, study.catalogue)
    shared = {}
    for name, frozen in study.ledger.frozen_studies().items():
        if name == study.name or study_of_baseline(name) is not None or "data" not in frozen:
            continue
        theirs = StudyDefinition.from_json(frozen).corpora
        both = tuple(x for x, key in mine.items() if theirs.get(f"{x} validation") == key)
        targets = frozen["spec"]["target"]["tasks"]
        if both := tuple(x for x in both if x.split()[0] in targets):
            shared[name] = both
    return shared


def _targets(
    definition: StudyDefinition, spec: StudySpec, catalogue: Catalogue
) -> Mapping[str, str]:
    """Target task and language -> fingerprint of its validation split."""
    places = (
        f"{task.name} {language}"
        for task in spec.target_tasks(catalogue)
        for language in spec.target_languages(task)
    )
    keys: dict[str, Any] = {x: definition.corpora.get(f"{x} validation") for x in places}
    return {place: key for place, key in keys.items() if key is not None}


def _reads(study: StoredStudy) -> list[str]:
    reads = study.ledger.test_reads(study.name)
    if not reads:
        return []
    shown = [f"{x.command} on {x.read_at[:10]} ({x.what})" for x in reads[-SHOWN:]]
    more = f", {len(reads) - SHOWN} before" if len(reads) > SHOWN else ""
    times = "once" if len(reads) == 1 else f"{len(reads)} times"
    return [f"these test splits were also seen {times}: {', '.join(shown)}{more}"]


def _shared(study: StoredStudy) -> list[str]:
    shared = shared_with(study)
    if not shared:
        return []
    words = []
    for name, splits in list(shared.items())[:SHOWN]:
        looks = len(study.ledger.confirmations(name))
        times = "not confirmed" if not looks else f"confirmed {looks} time{'s' * (looks > 1)}"
        words.append(f"{name} ({len(splits)} of them, {times})")
    more = f", {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
    return [f"studies with the same test splits: {', '.join(words)}{more}"]


def _left(study: StoredStudy) -> list[str]:
    looks = looks_of(study)
    return [error_left_line(error_left(looks))] if looks and looks[-1].is_over else []
