"""Whether a study fits the catalogue, what it compares, and how one that does not is answered."""

from __future__ import annotations

import re

import pytest

from spaces.catalogue import Domain, TaskKind, load_catalogue
from spaces.errors import SpecError, TransferSearchError
from spaces.recipe import Schedule
from spaces.studies import NO_INTERMEDIATE, StudySpec, load_study, study_files
from spaces.study_checks import check_layers, check_sizes, check_study, unlike_arms

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
def test_every_shipped_study_fits_the_catalogue(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", REAL_STUDIES)
def test_the_real_studies_compare_domains_like_for_like(name: str) -> None:
    spec = load_study(name)
    assert spec.arms == (NO_INTERMEDIATE, *Domain)
    assert spec.intermediate.examples is not None
    assert len(spec.intermediate.examples) == 1, "one size for every arm"
    assert spec.intermediate.schedule is Schedule.CONSTANT, "or epochs are no prefixes"
    assert len(spec.all_seeds) >= 3, "one seed's range is as wide as the effect"
    kinds = kinds_by_arm(spec)
    domain = REAL_STUDIES[name]
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
    text = (
        "study 'mohapatra_2022': expected intermediate.size_ratio 10 times the 2501 training "
        "examples of 'court_topics', found 25000 in 'imdb'; lower the ratio or drop the task"
    )
    with pytest.raises(SpecError, match=re.escape(text)):
        check_sizes(spec, catalogue, {**sizes, "court_topics": 2501})
    # IMDB stands before topics only.
    check_sizes(spec, catalogue, {**sizes, "business_reviews": 2501})


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ([], "target.pooled_layer: expected -7 to 6, as backbone 'small' has 6 layers, found 7"),
        (["target.pooled_layer=[-8]"], "expected -7 to 6, as backbone 'small' has 6 layers"),
        (
            ["target.pooled_layer=3", "target.frozen_layers=[0, 7]"],
            "target.frozen_layers: expected 0 to 6, as backbone 'small' has 6 layers, found 7",
        ),
    ],
)
def test_an_encoder_must_have_the_layers_that_the_study_names(
    overrides: list[str], text: str
) -> None:
    spec = load_study("xtreme_legal", overrides)
    with pytest.raises(SpecError, match=re.escape(text)):
        check_layers(spec, CATALOGUE, {"large": 12, "small": 6})


def test_layers_that_no_target_is_pooled_by_are_not_checked() -> None:
    spec = load_study("xtreme_legal", ['target.tasks=["panx"]'])
    check_layers(spec, CATALOGUE, {"small": 6})
    edges = load_study("xtreme_legal", ["target.pooled_layer=[-7, 0, 6]"])
    check_layers(edges, CATALOGUE, {"small": 6})


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (['intermediate.tasks=["e_nre"]'], "Task 'e_nre' is not in the catalogue of "),
        (['intermediate.tasks=["e_nre"]'], "Did you mean 'e_ner'?"),
        (
            ['intermediate.tasks=["masakhapos"]'],
            "study 'xtreme_legal': task 'masakhapos' is for role target only",
        ),
        (
            ['target.tasks=["wnut17"]'],
            "study 'xtreme_legal': task 'wnut17' is for role intermediate only",
        ),
        (
            ['arms=["none", "legal", "general"]'],
            "intermediate task 'bc5cdr' is biomedical, which is none of the study's arms "
            "(none, legal, general)",
        ),
        (
            ['intermediate.tasks=["e_ner", "wnut17"]'],
            "study 'xtreme_legal': arm 'biomedical' has no task in intermediate.tasks",
        ),
        (["source_language=swa"], "intermediate task 'uner_ewt' has no swa"),
        (
            [
                "source_language=fra",
                'arms=["none", "general"]',
                'intermediate.tasks=["panx"]',
                'target.tasks=["nusax"]',
                'target.languages=["ace"]',
            ],
            "target task 'nusax' has no fra to train on",
        ),
        (
            ['target.tasks=["nusax"]', 'target.languages=["swa"]'],
            "language 'swa' is not in any target task. Known: ace, all, ban, bbc, ",
        ),
        (
            ['target.languages=["swa", "swe"]'],
            "study 'xtreme_legal': language 'swe' is not in any target task. Did you mean 'swa'?",
        ),
        (
            ['mixtures.e_ner.tasks=["inlegalner", "policyqa"]'],
            "mixture 'e_ner' has the name of a task; rename it",
        ),
        (
            ['mixtures.own.matched={panx="e_ner"}', 'intermediate.tasks=["own"]'],
            "mixture 'own': expected matched to name every target task, found none for tatoeba, ",
        ),
        (
            ['mixtures.both.tasks=["e_ner", "wnut17"]', 'intermediate.tasks=["both"]'],
            "intermediate task 'both' is mixed, which is none of the study's arms",
        ),
        (
            ['target.without={xnly=["swa"]}'],
            "Did you mean 'xnli'?",
        ),
        (
            ['target.without={xnli=["yor"]}'],
            "target.without.xnli: language 'yor' is not in that task. ",
        ),
        (
            ["target.examples=100", 'target.languages=["mya"]'],
            "target task 'xnli' has none of the languages mya; it has ",
        ),
        (
            ["selection=source-validation"],
            "target task 'tatoeba' (retrieval) has no eng score to select on; set selection",
        ),
        (
            ['target.tasks=["panx"]', "target.method=soft-prompt"],
            "target.method soft-prompt is for whole texts, which 'panx' (ner) does not score",
        ),
        (
            ['target.tasks=["mlm_news"]'],
            "task 'mlm_news' is for role intermediate only",
        ),
        (
            ['claims=[{text="X wins", kind="best-backbone", backbone="bert"}]'],
            "claim 'X wins': 'bert' is none of the backbones (xlm-r); drop the claim",
        ),
        (
            ['claims=[{text="X wins", kind="direct-is-better", targets=["udpos"]}]'],
            "claim 'X wins': 'udpos' is no target task; drop the claim",
        ),
    ],
)
def test_a_study_that_does_not_fit_the_catalogue_is_an_error(
    overrides: list[str], text: str
) -> None:
    with pytest.raises(TransferSearchError, match=re.escape(text)):
        check("xtreme_legal", *overrides)
