"""The shipped studies, a study of one's own, and how a wrong one is answered."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest

from spaces.catalogue import load_catalogue
from spaces.errors import SpecError, UnknownNameError
from spaces.languages import LOW_RESOURCE
from spaces.stage_specs import log_grid
from spaces.studies import NO_INTERMEDIATE, Selection, check_study_name, load_study, study_files
from spaces.study_checks import check_study
from spaces.task import Domain
from tests.raising import raises

CATALOGUE = load_catalogue()

OWN_STUDY = """
question = "Do treaties help Swahili news?"
arms = ["none", "legal"]
backbone = ["FacebookAI/xlm-roberta-base", "google-bert/bert-base-multilingual-cased"]

[intermediate]
tasks = ["treaties", "e_ner"]
epochs = 2
learning_rate = 3e-5

[target]
tasks = ["panx"]
languages = ["low-resource", "swa", "que"]
epochs = [2, 4]
learning_rate = { low = 1e-5, high = 1e-4, points = 3 }
batch_size = 8

[tasks.treaties]
kind = "ner"
domain = "legal"
role = "intermediate"
title = "Entities in treaties"
languages = ["eng"]
labels = ["PARTY"]
metric = "span_f1"
licence = "MIT"
urls.data = "https://example.org"
urls.licence = "https://example.org/licence"
files = ["treaties/{split}.conll"]
"""


@pytest.fixture
def own_study(tmp_path: Path) -> Path:
    path = tmp_path / "treaties.toml"
    path.write_text(OWN_STUDY, encoding="utf-8")
    return path


def test_arm_tasks_are_those_of_the_domain_in_the_order_of_the_file() -> None:
    overrides = ['intermediate.tasks=["inlegalner", "wnut17", "mlm_judgments", "bc5cdr"]']
    spec = load_study("xtreme_legal", overrides)
    assert spec.arm_choices(CATALOGUE, "legal") == ("inlegalner", "mlm_judgments")
    assert spec.arm_choices(CATALOGUE, NO_INTERMEDIATE) == ()
    shipped = load_study("xtreme_legal")
    arms = [shipped.arm_choices(CATALOGUE, domain) for domain in Domain]
    assert sorted(shipped.intermediate.tasks) == sorted(name for arm in arms for name in arm)


def test_a_target_is_scored_on_those_of_the_languages_that_it_has() -> None:
    spec = load_study("xtreme_domains")
    languages = {task.name: spec.target_languages(task) for task in spec.target_tasks(CATALOGUE)}
    assert "swa" in languages["panx"]
    assert "swa" in languages["sib200"]
    assert "swa" not in languages["udpos"]
    assert set(languages["udpos"]) < set(languages["panx"])


def test_a_log_grid_has_both_ends_and_even_steps() -> None:
    assert log_grid(1e-5, 1e-4, 4) == (1e-5, 2.15e-5, 4.64e-5, 1e-4)
    grid = log_grid(5e-6, 3e-4, 7)
    assert (grid[0], grid[-1], len(grid)) == (5e-6, 3e-4, 7)
    steps = [math.log(b / a) for a, b in pairwise(grid)]
    assert steps == pytest.approx([math.log(60) / 6] * 6, rel=0.02)


@pytest.mark.parametrize(
    ("low", "high", "points"), [(1e-4, 1e-5, 4), (1e-4, 1e-4, 4), (0.0, 1e-4, 4), (1e-5, 1e-4, 1)]
)
def test_a_log_grid_needs_a_range_and_two_points(low: float, high: float, points: int) -> None:
    found = f"low={low}, high={high}, points={points}"
    with raises(SpecError, expected="0 < low < high and points from 2 to 1000", found=found):
        log_grid(low, high, points)


def test_overrides_change_single_fields() -> None:
    spec = load_study(
        "xtreme_legal",
        [
            'target.languages=["swa"]',
            "target.learning_rate=3e-5",
            "intermediate.learning_rate={low=1e-5, high=1e-3, points=3}",
            "intermediate.warmup_ratio=0",
            "trials=5",
            "backbone=some/encoder",
            "selection=source-validation",
        ],
    )
    plain = load_study("xtreme_legal")
    assert spec.target.languages == ("swa",)
    assert spec.target.learning_rate == (3e-5,)
    assert spec.intermediate.learning_rate == (1e-5, 1e-4, 1e-3)
    assert spec.intermediate.warmup_ratio == (0.0,)
    assert spec.trials == 5
    assert spec.backbone == ("some/encoder",)
    assert spec.selection is Selection.SOURCE_VALIDATION
    assert spec.target.epochs == plain.target.epochs
    assert spec.intermediate.tasks == plain.intermediate.tasks


def test_a_path_works_as_a_shipped_name_does(own_study: Path) -> None:
    spec = load_study(str(own_study), ["baseline_seeds=2", "first_seed=7"])
    catalogue = CATALOGUE.extended(spec.tasks, f"study {spec.name!r}")
    check_study(spec, catalogue)
    assert spec.name == "treaties"
    assert (spec.baseline_seeds, spec.first_seed) == (2, 7)
    assert spec.backbone[0] == "FacebookAI/xlm-roberta-base"
    assert spec.intermediate.epochs == (2,)
    assert spec.intermediate.examples is None
    assert spec.target.learning_rate == (1e-5, 3.16e-5, 1e-4)
    assert list(spec.arm_choices(catalogue, "legal")) == ["treaties", "e_ner"]
    assert spec.target_languages(CATALOGUE["panx"]) == (*LOW_RESOURCE, "que"), "each once"


def test_a_copy_of_a_shipped_file_is_the_same_study(tmp_path: Path) -> None:
    path = tmp_path / "xtreme_legal.toml"
    path.write_bytes(study_files()["xtreme_legal"].read_bytes())
    assert load_study(str(path)) == load_study("xtreme_legal")


def test_a_file_of_before_loads_and_is_told_what_its_fields_mean_now(
    own_study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = load_study(str(own_study))
    assert not caplog.messages
    old = own_study.with_name("treaties_then.toml")
    lines = "seeds = 3\nstop_behind = 0.1\nrepeat_leaders = 3\n"
    old.write_text(lines + own_study.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_study(str(old)) == now.model_copy(update={"name": "treaties_then"})
    assert sorted(x.split(": ")[1] for x in caplog.messages) == [
        *("repeat_leaders is left out", "seeds is left out", "stop_behind is left out"),
    ]
    assert all("\n" not in line for line in caplog.messages)
    caplog.clear()
    assert load_study(str(own_study), ["seeds=3"]) == now
    assert caplog.messages == [
        "study treaties: seeds is left out: a trial is one seed, and the search repeats a recipe "
        "where another seed decides"
    ]


def test_a_task_of_ones_own_is_unknown_to_the_bare_catalogue(own_study: Path) -> None:
    with raises(UnknownNameError, subject="Task", found="treaties"):
        check_study(load_study(str(own_study)), CATALOGUE)


def test_a_misspelt_study_is_answered_with_the_nearest() -> None:
    where = f"among the {len(study_files())} shipped studies"
    near = "did you mean 'xtreme_legal'?"
    with raises(UnknownNameError, expected=where, found="xtreme_leagl", advice=near):
        load_study("xtreme_leagl")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lost.toml"
    with raises(SpecError, subject=str(path), expected="a readable file", found="No such file"):
        load_study(str(path))


@pytest.mark.parametrize(
    ("override", "subject", "expected", "found"),
    [
        ("trials", "--set", "KEY=VALUE", "'trials'"),
        ("=3", "--set", "KEY=VALUE", "'=3'"),
        ("question.x=3", "--set question.x", "a table before each dot", "'question', a value"),
    ],
)
def test_a_wrong_override_is_an_error(
    override: str, subject: str, expected: str, found: str
) -> None:
    with raises(SpecError, subject=subject, expected=expected, found=found):
        load_study("xtreme_legal", [override])


@pytest.mark.parametrize(
    ("override", "field", "expected", "found"),
    [
        ("target.epoch=2", "target.epoch", "", "unknown"),
        ("trials=few", "trials", "a whole number", "'few'"),
        ("baseline_seeds=0", "baseline_seeds", "greater than or equal to 1", "0"),
        ("target.epochs=2.5", "target.epochs.0", "a whole number", "2.5"),
        ("target.epochs=[]", "target.epochs", "at least 1 value", "[]"),
        ("target.epochs=[2, 2]", "target.epochs", "each once", "[2, 2]"),
        ("target.schedule=linear", "target.epochs", "one number beside schedule linear", "[2, 4]"),
        ("target.tasks=[]", "target.tasks", "at least one", "none"),
        ("target.languages=[]", "target.languages", "at least one", "none"),
        ("target.learning_rate=1", "target.learning_rate.0", "less than 1", "1"),
        (
            "target.learning_rate={low=1e-5, high=1e-4}",
            *("target.learning_rate.points", "", "missing"),
        ),
        (
            "target.learning_rate={low=1e-3, high=1e-4, points=4}",
            *("target.learning_rate", "0 < low < high and points from 2 to 1000", "low=0.001, "),
        ),
        ("target.shots=4", "target", "one of examples, shots, train_share", "examples and shots"),
        (
            "intermediate.method=soft-prompt",
            *("intermediate.method", "full or lora", "soft-prompt, which leaves the encoder"),
        ),
        ("selection=test", "selection", "'target-validation' or 'source-validation'", "'test'"),
        ('arms=["none", "leagl"]', "arms", "some of none, general, ", "'leagl'"),
        ('arms=["legal", "general"]', "arms", "'none' and at least one of general", "['legal'"),
        ('arms=["none"]', "arms", "'none' and at least one of general, biomedical, ", "['none']"),
        ('arms=["none", "legal", "legal"]', "arms", "each once", "['none', 'legal', "),
        ("about=none", "about", "one of general, biomedical, legal", "'none'"),
        ("about=mixed", "about", "one of general, biomedical, legal", "'mixed'"),
        ("mixtures.x.order=together", "mixtures.x", "either tasks or matched", "neither"),
        ('mixtures.x.tasks=["imdb"]', "mixtures.x.tasks", "at least two", "['imdb']"),
        ('mixtures.x.tasks=["imdb", "imdb"]', "mixtures.x.tasks", "each once", "['imdb', "),
        (
            'claims=[{text="X wins", kind="best-backbone"}]',
            *("claims.0.backbone", "a backbone for kind best-backbone", "none"),
        ),
    ],
)
def test_a_wrong_value_names_the_field_and_what_was_found(
    override: str, field: str, expected: str, found: str
) -> None:
    with raises(SpecError, expected=expected, found=found) as caught:
        load_study("xtreme_legal", [override])
    assert caught.value.subject == f"study 'xtreme_legal.toml', field {field!r}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_study_file_may_begin_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    shipped = next(iter(study_files().values()))
    file = tmp_path / "s.toml"
    file.write_text(shipped.read_text(encoding="utf-8"), encoding=encoding)
    assert load_study(str(file)).question == load_study(shipped.stem).question


@pytest.mark.parametrize(
    "override",
    [
        *("trials=9223372036854775808", "first_seed=18446744073709551616"),
        "baseline_seeds=1000000000",
        "target.learning_rate={low=1e-6, high=1e-3, points=100000000}",
        f"target.epochs={list(range(1, 2000))}",
        f"trials={'9' * 5000}",
        f"question={'[' * 10_000}",
        f"arms={'{a=' * 10_000}",
        "target.pooled_layer=100000000000000000000",
        "target.batch_size=1e400",
    ],
)
def test_values_beyond_all_measure_are_told_in_a_short_line(override: str) -> None:
    name = next(iter(study_files()))
    if override.startswith("question"):  # a value that is no TOML is a string
        load_study(name, [override])
        return
    with raises(SpecError) as caught:
        load_study(name, [override])
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\0", "x" * 101, "-x", "\udcff"])
def test_a_name_that_is_none_is_told(name: str) -> None:
    with raises(SpecError, subject="--name", expected="a name of 1 to 100 characters"):
        check_study_name(name, "--name")


@pytest.mark.parametrize("name", ["legal/v1", "a.toml", "ner [/x]", "é", "x" * 100, "a b"])
def test_a_name_may_look_like_anything_that_can_be_printed(name: str) -> None:
    check_study_name(name, "--name")
