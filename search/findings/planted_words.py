"""What is true of a pocket study, since its effects were planted."""

from __future__ import annotations

from objectives.gains.transfer_gain import in_points
from objectives.pocket.effects import PLANTED, PlantedEffect
from search.studies.stored_study import StoredStudy

PREFIX = "pocket_"


def planted_line(study: StoredStudy) -> str:
    """The planted effects among a pocket study's tasks; empty where none is known, or none pocket.

    They are of an intermediate task at its full dose; of what hurts a search may take less.
    """
    if not study.is_pocket:
        return ""
    spec = study.spec
    known = [
        row
        for row in PLANTED
        if PREFIX + row.intermediate in spec.intermediate_tasks
        and PREFIX + row.target in spec.target.tasks
    ]
    if not known:
        return ""
    effects = [_effect(study, row) for row in known if row.effect != "nothing"]
    others = sorted({row.target for row in known if row.effect == "nothing"})
    rest = (
        f"; the labels of the others have no bearing on {', '.join(PREFIX + x for x in others)}: "
        f"under five points, which any training in between may do"
    )
    return (
        "pocket corpora: the truth was planted and is known: "
        + ("; ".join(effects) or "nothing helps or hurts")
        + (rest if others else "")
    )


def _effect(study: StoredStudy, row: PlantedEffect) -> str:
    name = PREFIX + row.intermediate
    domain = study.catalogue[name].domain
    assert row.points is not None, row
    by = f"by about {in_points(row.points)} points"
    return f"{name} ({domain}) {row.effect} {PREFIX + row.target} {by}"
