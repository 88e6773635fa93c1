"""A study's report in words and numbers: the content of page, Markdown and JSON alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from search.findings.claims import ClaimVerdict, check_claims
from search.findings.confirmation import confirmed_recipes
from search.findings.landscape import Landscape, read_landscape
from search.findings.stage_costs import StudyCost, study_cost
from search.findings.standings import judged_languages
from search.findings.study_status import trial_counts
from search.findings.test_splits import test_split_lines
from search.findings.verdicts import RecipeVerdict
from search.reporting.first_screen import FirstScreen, first_screen
from search.reporting.landscape_sections import Section
from search.reporting.study_sections import report_sections
from search.studies.baseline import Baseline
from search.studies.stored_study import StoredStudy
from storage.tables import Confirmation


@dataclass(frozen=True)
class ReportContent:
    """All that a report says of a study.

    Attributes:
        study: Name of the study.
        question: Question that the study file asks.
        is_pocket: Whether the figures are of the pocket corpora.
        first_screen: The answer in words, and what to do next.
        sections: Parts below the first screen, provenance last.
        baseline: What gains are over; None while its direct trainings are not done.
        landscape: The numbers of the search.
        confirmed: The verdicts of the last finished confirmation; empty before there is one.
        confirmations: All confirmations, in order.
        test_splits: What else was seen of the test splits, which other studies have them, and
            what error is left.
        claims: What the trials say of each claim in the study file.
        cost: Training time that the search asked for, took and saved.
        states: State -> number of trials.
        provenance: What the study was made from and with.
    """

    study: str
    question: str
    is_pocket: bool
    first_screen: FirstScreen
    sections: list[Section]
    baseline: Baseline | None
    landscape: Landscape
    confirmed: tuple[RecipeVerdict, ...]
    confirmations: list[Confirmation]
    test_splits: list[str]
    claims: list[ClaimVerdict]
    cost: StudyCost
    states: Mapping[str, int]
    provenance: Mapping[str, str]

    @property
    def title(self) -> str:
        """Title of the page."""
        return f"{self.study}{' (pocket corpora)' if self.is_pocket else ''}: {self.question}"


def report_content(study: StoredStudy) -> ReportContent:
    """Read a study and put its results into words."""
    spec, landscape = study.spec, read_landscape(study)
    cost = study_cost(study.ledger, study.name)
    judged_on = judged_languages(spec, study.catalogue)
    claims = check_claims(spec, [*study.direct, *study.recipes], judged_on)
    provenance = _provenance(study)
    return ReportContent(
        study=study.name,
        question=spec.question,
        is_pocket=study.is_pocket,
        first_screen=first_screen(study, landscape, cost),
        sections=report_sections(study, landscape, claims, provenance),
        baseline=study.baseline,
        landscape=landscape,
        confirmed=confirmed_recipes(study),
        confirmations=study.confirmations,
        test_splits=test_split_lines(study),
        claims=claims,
        cost=cost,
        states=trial_counts(study.optuna_study),
        provenance=provenance,
    )


def _provenance(study: StoredStudy) -> dict[str, str]:
    about, definition = study.optuna_study.user_attrs, study.definition
    kept = ("data", "data_revisions", "backbone", "transfer_search_version", "optuna_version")
    stages = study.trained_stages.values()
    versions = {f"{n} {v}" for stage in stages for n, v in stage.versions.items()}
    facts = {name.replace("_", " "): str(about[name]) for name in kept if about.get(name)}
    return facts | {
        "precision": definition.precision,
        "seeds of the best direct training": str(study.spec.baseline_seeds),
        "devices": ", ".join(sorted({stage.device for stage in stages})),
        "versions": ", ".join(sorted(versions)),
        "encoders": ", ".join(f"{n} {str(key)[:12]}" for n, key in definition.backbones.items()),
        "storage": study.shown_url,
        "study file": json.dumps(definition.spec),
    }
