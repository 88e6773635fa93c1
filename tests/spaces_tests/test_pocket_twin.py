"""The pocket twin of a study: what of the study it keeps, and what the user may still say."""

from __future__ import annotations

import pytest

from spaces.catalogue import Catalogue, load_catalogue
from spaces.dimensions import SearchSpace, search_space
from spaces.errors import SpecError
from spaces.pocket_twin import pocket_twin
from spaces.studies import StudySpec, load_study, study_files
from spaces.study_checks import check_study
from tests.raising import raises

CATALOGUE = load_catalogue()
POCKET_LANGUAGES = ("qaa", "qab", "qac", "qad", "qae", "qaf")


def twin_of(name: str, *overrides: str) -> StudySpec:
    spec = load_study(name, overrides)
    catalogue = known_to(spec)
    check_study(spec, catalogue)
    twin = pocket_twin(spec, catalogue, overrides)
    check_study(twin, catalogue)
    return twin


def known_to(spec: StudySpec) -> Catalogue:
    return CATALOGUE.extended(spec.tasks, f"study {spec.name!r}")


def space_of(twin: StudySpec) -> SearchSpace:
    return search_space(twin, CATALOGUE, dict.fromkeys(twin.task_names, 5000))


def intermediate_kinds(spec: StudySpec) -> dict[str, set[str]]:
    catalogue = known_to(spec)
    return {
        arm: {
            catalogue[task].kind
            for name in spec.arm_choices(catalogue, arm)
            for task in spec.members(name)
        }
        for arm in spec.arms
    }


@pytest.mark.parametrize("name", study_files())
def test_every_shipped_study_has_a_pocket_twin(name: str) -> None:
    spec, twin = load_study(name), twin_of(name)
    assert (twin.name, twin.question, twin.arms) == (spec.name, spec.question, spec.arms)
    assert twin.about == spec.about
    assert twin.backbone == ("pocket",)
    assert all(CATALOGUE[task].pocket for task in twin.task_names)
    for task in twin.target_tasks(CATALOGUE):
        assert twin.target_languages(task) == POCKET_LANGUAGES
    assert pocket_twin(twin, CATALOGUE) == twin
    if spec.pocket.target:
        assert twin.target.tasks == spec.pocket.target
        assert twin.intermediate.tasks == spec.pocket.intermediate
        return
    asked, ours = (
        {(task.kind, task.kind == "retrieval" and task.metric) for task in targets}
        for targets in (spec.target_tasks(known_to(spec)), twin.target_tasks(CATALOGUE))
    )
    assert ours == asked
    assert intermediate_kinds(twin) == intermediate_kinds(spec)


def test_a_matched_mixture_keeps_its_name_and_matches_the_twins() -> None:
    twin = twin_of("mohapatra_2022")
    assert space_of(twin).arms == {"none": (), "general": ("same_kind",)}
    assert twin.mixtures["same_kind"].matched == {
        "pocket_topic": "pocket_sentiment_reviews",
        "pocket_sentiment": "pocket_sentiment_reviews",
        "pocket_similarity": "pocket_pairs_headlines",
    }


def test_a_matched_mixture_keeps_to_the_targets_that_are_left() -> None:
    overrides = ['target.tasks=["sib200"]', 'target.languages=["swa"]']
    matched = twin_of("mohapatra_2022", *overrides).mixtures["same_kind"].matched
    assert matched == {"pocket_topic": "pocket_sentiment_reviews"}


def test_a_mixture_of_one_kind_becomes_its_task_and_others_stay_mixtures() -> None:
    twin = twin_of("xstilts_2020")
    mixtures = space_of(twin).mixtures
    # MNLI, SNLI and ANLI are one corpus here, which is offered alone.
    assert mixtures.keys() == {"multi_task", "mnli_and_mlm"}
    assert mixtures["multi_task"].temperature == 2
    assert mixtures["multi_task"].tasks == (
        *("pocket_nli_reports", "pocket_pairs_headlines", "pocket_qa_archive"),
    )
    assert twin.intermediate.tasks[-2:] == ("multi_task", "mnli_and_mlm")
    assert "pocket_nli_reports" in twin.intermediate.tasks


def test_methods_are_those_of_the_study() -> None:
    twin = twin_of("rosprompt_2025")
    space = space_of(twin)
    assert space.target.method == ("soft-prompt", "full", "lora")
    assert space.target.prompt_length == (2, 5, 10, 20)
    assert space.intermediate.method == ("full", "lora")


@pytest.mark.parametrize(
    ("name", "shots", "share", "examples"),
    [
        ("rosprompt_2025", (8,), None, None),
        ("xstilts_2020", None, 0.08, None),
        ("xtreme_legal", None, None, (64,)),
    ],
)
def test_targets_are_sized_by_what_the_study_sizes_them_by(
    name: str, shots: tuple[int] | None, share: float | None, examples: tuple[int] | None
) -> None:
    target = twin_of(name).target
    assert (target.shots, target.train_share, target.examples) == (shots, share, examples)


def test_layers_are_those_that_the_pocket_encoder_has() -> None:
    # The middle one and the last, of twelve and of two.
    assert load_study("xtreme_legal").target.pooled_layer == (7, -1)
    assert twin_of("xtreme_legal").target.pooled_layer == (1, -1)
    assert twin_of("xtreme_legal", "target.frozen_layers=[0, 3, 9]").target.frozen_layers == (0, 1)


def test_overrides_of_sizes_go_before_those_of_the_pocket_corpora() -> None:
    twin = twin_of(
        "xtreme_legal",
        *("baseline_seeds=1", "target.examples=64", "intermediate.epochs=[1]"),
        "target.learning_rate={low=1e-4, high=1e-2, points=3}",
    )
    assert (twin.baseline_seeds, twin.target.examples) == (1, (64,))
    assert twin.intermediate.epochs == (1,)
    assert twin.target.learning_rate == (1e-4, 1e-3, 1e-2)
    assert twin.intermediate.examples == twin_of("xtreme_legal").intermediate.examples
    assert twin_of("mohapatra_2022", "target.train_share=0.1").target.train_share == 0.1


def test_overrides_of_tasks_and_languages_shape_the_study_that_the_twin_is_of() -> None:
    twin = twin_of(
        "xtreme_legal",
        'target.tasks=["xnli"]',
        'target.languages=["swa"]',
        'arms=["none", "legal"]',
        'intermediate.tasks=["contractnli"]',
    )
    assert twin.target.tasks == ("pocket_nli",)
    assert twin.target.languages == POCKET_LANGUAGES
    assert twin.intermediate.tasks == ("pocket_nli_clauses",)


def test_the_pocket_tasks_that_a_study_names_keep_to_the_arms_that_are_asked_for() -> None:
    assert load_study("xtreme_legal").pocket.target
    twin = twin_of("xtreme_legal", 'arms=["none", "legal"]', 'intermediate.tasks=["contractnli"]')
    assert twin.intermediate.tasks == ("pocket_nli_clauses",), "the user's go before them"
    spec = load_study("xtreme_legal")
    fewer = spec.model_copy(update={"arms": ("none", "legal")})
    twin = pocket_twin(fewer, CATALOGUE)
    assert {CATALOGUE[x].domain for x in twin.intermediate.tasks} == {"legal"}
    assert twin.target.tasks == spec.pocket.target


def test_a_kind_that_the_pocket_corpora_lack_is_an_error() -> None:
    without = Catalogue({x.name: x for x in CATALOGUE if not (x.pocket and x.kind == "nli")})
    subject, kind = "study 'xtreme_legal', task 'xnli'", "kind nli and domain general"
    with raises(SpecError, subject=subject, expected=kind, found="none", advice="--data"):
        pocket_twin(load_study("xtreme_legal"), without)
