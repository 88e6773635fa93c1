"""Whether a study fits the catalogue, what it compares, and how one that does not is answered."""

from __future__ import annotations

import pytest

from spaces.catalogue import load_catalogue
from spaces.errors import SpecError, TransferSearchError
from spaces.recipe import Schedule
from spaces.studies import NO_INTERMEDIATE, StudySpec, load_study, study_files
from spaces.study_checks import check_layers, check_sizes, check_study, unlike_arms
from spaces.task import Domain, TaskKind
from tests.raising import raises

CATALOGUE = load_catalogue()
# Study -> the domain it asks about; None for all of them.
REAL_STUDIES = {
    "xtreme_biomedical": Domain.BIOMEDICAL,
    "xtreme_domains": None,
    "xtreme_legal": Domain.LEGAL,
}


def check(study: str, *overrides: str) -> None:
    spec = load_study(study, overrides)
    check_study(spec, CATALOGUE.extended(spec.tasks, f"study {spec.name!r}"))


def kinds_by_arm(spec: StudySpec) -> dict[str, set[TaskKind]]:
    return {
        arm: {CATALOGUE[name].kind for name in spec.arm_choices(CATALOGUE, arm)}
        for arm in spec.arms
        if arm != NO_INTERMEDIATE
    }


@pytest.mark.parametrize("name", study_files())
def test_every_shipped_study_fits_the_catalogue_and_asks_in_one_line(name: str) -> None:
    check(name)
    spec = load_study(name)
    assert spec.name == name
    assert spec.question.endswith("?")
    assert "\n" not in spec.question


@pytest.mark.parametrize("name", REAL_STUDIES)
def test_the_real_studies_compare_domains_like_for_like(name: str) -> None:
    spec = load_study(name)
    assert spec.arms == (NO_INTERMEDIATE, *Domain)
    assert spec.intermediate.examples is not None
    assert len(spec.intermediate.examples) == 1, "one size for every arm"
    assert spec.intermediate.schedule is Schedule.CONSTANT, "or epochs are no prefixes"
    assert spec.baseline_seeds >= 5, "its standard error is part of every gain"
    kinds = kinds_by_arm(spec)
    domain = REAL_STUDIES[name]
    assert spec.about == (domain or ""), "the arm that the question is about"
    if domain is None:
        assert set(map(frozenset, kinds.values())) == {frozenset(kinds["general"])}
    else:
        assert kinds["general"] == kinds[domain], "every kind of the domain has its control"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("xtreme_domains", []),
        (
            "xtreme_legal",
            [
                "arms compared unlike: qa is in general, legal but not in biomedical "
                "(the catalogue has covid_qa)"
            ],
        ),
        (
            "xtreme_biomedical",
            [
                "arms compared unlike: pos is in general, biomedical but not in legal "
                "(the catalogue has ud_gum_court)",
                "arms compared unlike: sentiment is in general, biomedical but not in legal "
                "(the catalogue has none)",
            ],
        ),
    ],
)
def test_a_study_says_which_kinds_it_compares_unlike(name: str, said: list[str]) -> None:
    spec = load_study(name)
    assert unlike_arms(spec, CATALOGUE) == said
    kinds = kinds_by_arm(spec)
    unlike = [k for k in TaskKind if 0 < sum(k in found for found in kinds.values()) < len(kinds)]
    assert len(said) == len(unlike)


def test_a_mixture_has_the_kinds_of_its_tasks() -> None:
    both = 'mixtures.both.tasks=["e_ner", "mlm_judgments"]'
    arms = 'arms=["none", "general", "legal"]'
    alike = 'intermediate.tasks=["uner_ewt", "mlm_news", "both"]'
    assert unlike_arms(load_study("xtreme_legal", [both, arms, alike]), CATALOGUE) == []
    spec = load_study("xtreme_legal", [both, arms, 'intermediate.tasks=["uner_ewt", "both"]'])
    (line,) = unlike_arms(spec, CATALOGUE)
    assert line.startswith("arms compared unlike: mlm is in legal but not in general (")


def test_an_override_may_drop_a_target_of_a_matched_mixture() -> None:
    overrides = ['target.tasks=["sib200", "court_topics"]', 'target.languages=["eng", "swa"]']
    check("mohapatra_2022", *overrides)
    spec = load_study("mohapatra_2022", overrides)
    assert spec.intermediate_tasks == ("imdb",)


def test_an_override_may_drop_what_the_study_leaves_out() -> None:
    assert "udpos" in load_study("xtreme_domains").target.without
    check("xtreme_domains", 'target.tasks=["panx", "tydiqa"]', 'target.languages=["swa"]')


def test_an_intermediate_set_must_be_so_many_times_its_target() -> None:
    spec = load_study("mohapatra_2022")
    catalogue = CATALOGUE.extended(spec.tasks, "study")
    sizes = {"imdb": 25000, "sst2": 67349, "qqp": 363846}
    sizes |= {"court_topics": 2000, "business_reviews": 2000, "caption_similarity": 5749}
    sizes |= {"sib200": 701, "afrisenti": 5000, "semrel2024": 5500}
    check_sizes(spec, catalogue, sizes)
    subject = "study 'mohapatra_2022', intermediate task 'imdb'"
    expected = "size_ratio 10 times the 2501 training examples of 'court_topics'"
    with raises(SpecError, subject=subject, expected=expected, found="25000"):
        check_sizes(spec, catalogue, {**sizes, "court_topics": 2501})
    # IMDB stands before topics only.
    check_sizes(spec, catalogue, {**sizes, "business_reviews": 2501})


@pytest.mark.parametrize(
    ("overrides", "field", "layers", "found"),
    [
        ([], "target.pooled_layer", "-7 to 6", "7"),
        (["target.pooled_layer=[-8]"], "target.pooled_layer", "-7 to 6", "-8"),
        (
            ["target.pooled_layer=3", "target.frozen_layers=[0, 7]"],
            *("target.frozen_layers", "0 to 6", "7"),
        ),
    ],
)
def test_an_encoder_must_have_the_layers_that_the_study_names(
    overrides: list[str], field: str, layers: str, found: str
) -> None:
    spec = load_study("xtreme_legal", overrides)
    expected = f"{layers}, as backbone 'small' has 6 layers"
    with raises(SpecError, subject=f"field {field!r}", expected=expected, found=found):
        check_layers(spec, CATALOGUE, {"large": 12, "small": 6})


def test_layers_that_no_target_is_pooled_by_are_not_checked() -> None:
    spec = load_study("xtreme_legal", ['target.tasks=["panx"]'])
    check_layers(spec, CATALOGUE, {"small": 6})
    edges = load_study("xtreme_legal", ["target.pooled_layer=[-7, 0, 6]"])
    check_layers(edges, CATALOGUE, {"small": 6})


@pytest.mark.parametrize(
    ("overrides", "subject", "expected", "found", "advice"),
    [
        (['intermediate.tasks=["e_nre"]'], "Task", "", "e_nre", "did you mean 'e_ner'?"),
        (
            ['intermediate.tasks=["masakhapos"]'],
            "study 'xtreme_legal', field 'intermediate.tasks'",
            *("tasks of role intermediate or both", "'masakhapos' of role target", ""),
        ),
        (
            ['target.tasks=["wnut17"]'],
            *("study 'xtreme_legal', field 'target.tasks'", "tasks of role target or both"),
            *("'wnut17' of role intermediate", ""),
        ),
        (
            ['arms=["none", "legal", "general"]'],
            *("intermediate task 'bc5cdr'", "one of the study's arms none, legal, general"),
            *("biomedical", ""),
        ),
        (
            ['intermediate.tasks=["e_ner", "wnut17"]'],
            *("study 'xtreme_legal', arm 'biomedical'", "at least one task in intermediate.tasks"),
            *("none", ""),
        ),
        (
            ["source_language=swa"],
            *("task 'uner_ewt'", "source language swa", "'uner_ewt' in eng", ""),
        ),
        (
            [
                "source_language=fra",
                'arms=["none", "general"]',
                'about=""',
                'intermediate.tasks=["panx"]',
                'target.tasks=["nusax"]',
                'target.languages=["ace"]',
            ],
            *("task 'nusax'", "source language fra", "'nusax' in ", ""),
        ),
        (
            ['target.tasks=["nusax"]', 'target.languages=["swa"]'],
            *("study 'xtreme_legal': language", "in any target task", "swa"),
            "known: ace, all, ban, bbc, ",
        ),
        (['target.languages=["swa", "swe"]'], "", "", "swe", "did you mean 'swa'?"),
        (
            ['mixtures.e_ner.tasks=["inlegalner", "policyqa"]'],
            *("mixture 'e_ner'", "a new name", "a task of the catalogue", ""),
        ),
        (
            ['mixtures.own.matched={panx="e_ner"}', 'intermediate.tasks=["own"]'],
            *("mixture 'own'", "in matched for every target task", "none for tatoeba, ", ""),
        ),
        (
            ['mixtures.both.tasks=["e_ner", "wnut17"]', 'intermediate.tasks=["both"]'],
            *("intermediate task 'both'", "arms", "mixed", ""),
        ),
        (['target.without={xnly=["swa"]}'], "Task", "", "xnly", "did you mean 'xnli'?"),
        (
            ['target.without={xnli=["yor"]}'],
            *("field 'target.without.xnli': language", "", "yor", ""),
        ),
        (
            ["target.examples=100", 'target.languages=["mya"]'],
            *("target task 'xnli'", "one of target.languages (mya)", "ara, bul", ""),
        ),
        (
            ["selection=source-validation"],
            *("target task 'tatoeba'", "a score in eng to select on", "none for kind retrieval"),
            "set selection = 'target-validation'",
        ),
        (
            ['target.tasks=["panx"]', "target.method=soft-prompt"],
            *("target task 'panx'", "scores whole texts, as target.method has soft-prompt"),
            *("kind ner", ""),
        ),
        (
            ['target.tasks=["mlm_news"]'],
            *("field 'target.tasks'", "", "'mlm_news' of role intermediate", ""),
        ),
        (
            ['claims=[{text="X wins", kind="best-backbone", backbone="bert"}]'],
            *("study 'xtreme_legal', claim 'X wins'", "one of the backbones xlm-r", "'bert'"),
            "drop the claim",
        ),
        (
            ['claims=[{text="X wins", kind="direct-is-better", targets=["udpos"]}]'],
            "study 'xtreme_legal', claim 'X wins'",
            *("some of the target tasks panx, xnli, tatoeba", "'udpos'", "drop the claim"),
        ),
    ],
)
def test_a_study_that_does_not_fit_the_catalogue_is_an_error(
    overrides: list[str], subject: str, expected: str, found: str, advice: str
) -> None:
    with raises(
        TransferSearchError, subject=subject, expected=expected, found=found, advice=advice
    ):
        check("xtreme_legal", *overrides)


def test_shots_are_for_tasks_with_classes() -> None:
    options = ['target.tasks=["panx"]', 'target.languages=["swa"]', "target.shots=8"]
    subject = "study 'rosprompt_2025', target task 'panx'"
    with raises(SpecError, subject=subject, found="kind ner", advice="use examples"):
        check("rosprompt_2025", *options, 'target.method="full"')
