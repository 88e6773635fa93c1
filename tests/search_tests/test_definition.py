"""What defines a study: kept as JSON, read back, and compared in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from search.studies.definition import StudyDefinition, check_same, check_source, differences
from spaces.errors import StorageError
from tests.raising import raises

KEPT = {
    "spec": {"arms": ["none", "legal"], "first_seed": 1, "target": {"epochs": [1]}},
    "space": {"arms": ["none", "legal"]},
    "data": {"source": "pocket", "corpora": {"pocket_ner qaa validation": "a" * 64}},
    "backbones": {"backbone": "b" * 64},
    "precision": "float32",
}
DEFINITION = StudyDefinition.from_json(KEPT)


def test_it_is_kept_as_stored_studies_have_it() -> None:
    assert json.loads(json.dumps(DEFINITION.as_json())) == KEPT
    assert (DEFINITION.source, DEFINITION.precision) == ("pocket", "float32")
    assert DEFINITION.corpora == KEPT["data"]["corpora"]


def test_the_same_may_go_on() -> None:
    check_same("s", DEFINITION, StudyDefinition.from_json(KEPT), "sqlite:///s.db")


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"spec": {**DEFINITION.spec, "first_seed": 2}}, "spec.first_seed: 1 then, 2 now"),
        ({"space": {"arms": ["none"]}}, "space.arms: ['none', 'legal'] then, ['none'] now"),
        ({"corpora": {}}, f"data.corpora.pocket_ner qaa validation: {'a' * 8} then, absent now"),
        ({"backbones": {"backbone": "c" * 64}}, "backbones.backbone: bbbbbbbb then, cccccccc now"),
        ({"precision": "bfloat16"}, "precision: float32 then, bfloat16 now"),
    ],
)
def test_what_differs_is_said(changed: dict[str, object], place: str) -> None:
    asked = replace(DEFINITION, **changed)
    with raises(StorageError, subject="study 's' in sqlite:///s.db", found=place):
        check_same("s", DEFINITION, asked, "sqlite:///s.db")


def test_what_follows_from_the_study_file_is_said_once() -> None:
    spec = {**DEFINITION.spec, "arms": ["none"]}
    asked = replace(DEFINITION, spec=spec, space={"arms": ["none"]})
    assert differences(DEFINITION, asked).keys() == {"spec.arms"}


def test_real_and_invented_corpora_are_never_mixed() -> None:
    real = replace(DEFINITION, source="real")
    with raises(
        StorageError, expected="pocket corpora", found="real corpora", advice="--name s_hub"
    ):
        check_source("s", DEFINITION, "hub", "sqlite:///s.db")
    with raises(StorageError, expected="real corpora", found="pocket corpora"):
        check_source("s", real, "pocket", "sqlite:///s.db")


def test_the_same_corpora_may_come_from_another_place() -> None:
    real, local = (replace(DEFINITION, source=source) for source in ("real", "local"))
    check_same("s", real, local, "sqlite:///s.db")
    changed = replace(local, corpora={name: "f" * 64 for name in local.corpora})
    with raises(StorageError, found="data.corpora"):
        check_same("s", real, changed, "sqlite:///s.db")
