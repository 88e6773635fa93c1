"""The sections of a report: what was tried and confirmed, the landscape, notes, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from objectives.gains.transfer_gain import in_points
from search.findings.answer import StudyAnswer
from search.findings.answer_words import gain_words, verdict_word
from search.findings.claims import ClaimVerdict, claim_lines
from search.findings.confirmation import ConfirmationResult, Look, finished, looks_of
from search.findings.landscape import Landscape
from search.findings.standings import judged_languages
from search.findings.trial_tables import choices
from search.findings.verdict_words import cell_rows, parts_line, points_with_interval
from search.reporting.landscape_sections import Section, landscape_sections, row
from search.reporting.paper import paper_section
from search.studies.stored_study import StoredStudy

SHOWN_RECIPES, SHOWN_TROUBLES, SHOWN_NOTES = 20, 20, 40


def report_sections(
    study: StoredStudy,
    landscape: Landscape,
    claims: Sequence[ClaimVerdict],
    provenance: Mapping[str, str],
) -> list[Section]:
    """Those that have anything to say, in the order of the report, provenance last."""
    done = finished(looks_of(study))
    sections = [
        _arms_section(landscape.answer),
        *_confirmed_section(done),
        *landscape_sections(landscape),
        _recipes_section(study, landscape),
        Section(
            "claims",
            "Claims of papers, held against the trials",
            [f"{line[0].upper()}{line[1:]}." for line in claim_lines(claims)],
        ),
        paper_section(study, landscape),
        _notes_section(study),
        _troubles_section(landscape),
        Section(
            "provenance",
            "Provenance",
            [],
            ("", "of the study"),
            [[name, value] for name, value in provenance.items()],
        ),
    ]
    return [section for section in sections if section.lines or section.rows]


def _arms_section(answer: StudyAnswer | None) -> Section:
    """The recommended recipe of each arm, for each target task and over all."""
    if answer is None:
        return Section("arms", "Arms", [])
    parts = dict(answer.by_task)
    if len(parts) > 1:
        parts["all"] = answer.arms
    rows = []
    for task, findings in parts.items():
        for arm, finding in findings.items():
            known, recipe = finding.known, finding.recipe
            if known is None or recipe is None:
                cells = ("-", "", "", "", f"0 of {finding.tasks}", 0)
                rows.append(row(task, arm, *cells, verdict_word(known), ""))
                continue
            rows.append(
                row(
                    *(task, arm, recipe.task, gain_words(known), f"{known.probability_gain:.2f}"),
                    points_with_interval(known.itself, *known.itself_interval),
                    *(f"{known.tried} of {finding.tasks}", known.runs, verdict_word(known)),
                    recipe.first.number,
                )
            )
    columns = ("target task", "arm", "intermediate task", "gain", "P(gain)", "of itself")
    return Section(
        "arms",
        "The arms",
        [
            "The recommended recipe of each arm, as the search model has it. Gain: percentage "
            "points over the best direct training of the same target task, with the 95 % "
            "interval. Of itself: over the same target stage without the intermediate task. An "
            "arm is judged when half of its tasks were tried at a competitive target stage."
        ],
        (*columns, "tasks tried", "runs", "so far", "trial"),
        rows,
    )


def _confirmed_section(done: Sequence[tuple[Look, ConfirmationResult]]) -> list[Section]:
    if not done:
        return []
    look, result = done[-1]
    names, margin = look.plan.names, look.plan.margin
    columns = ("target task", "language", "examples", *names.values())
    gains = [cell.gain for cell in result.verdicts.cells]
    detectable = [gain.detectable for gain in gains if gain.detectable is not None]
    lines = [
        f"Gains over the best direct training on test splits, up to {result.seeds} fresh seeds. "
        f"Intervals and verdicts are corrected for all looks and all of the table (Holm); where "
        f"none stands it is undecided. Equivalent: within {margin:g} points of direct training."
    ]
    if detectable:
        least, most = f"{min(detectable):.1f}", f"{max(detectable):.1f}"
        shown = least if least == most else f"{least} to {most}"
        lines.append(f"Minimum detectable gains at 80 % power: {shown} points.")
    itself = (
        "Gains over the same target stage without the intermediate task, paired by seed: what the "
        "intermediate task itself does. The rest of a gain is the target stage's. They explain a "
        "gain; their verdicts have an error of their own."
    )
    return [
        Section(
            "confirmed",
            "Confirmed, by language",
            lines,
            columns,
            cell_rows(result.verdicts, list(names), margin),
        ),
        Section(
            "confirmed-itself",
            "By the intermediate task itself",
            [itself, *_parts(look, result)],
            columns,
            cell_rows(result.paired, list(names), margin),
        ),
    ]


def _parts(look: Look, result: ConfirmationResult) -> list[str]:
    parts = (
        (name, parts_line(result.verdicts, result.paired, trial, look.plan.margin))
        for trial, name in look.plan.names.items()
    )
    return [f"{name[0].upper()}{name[1:]}: {line}." for name, line in parts if line]


def _recipes_section(study: StoredStudy, landscape: Landscape) -> Section:
    recipes = landscape.recipes
    if not len(recipes):
        return Section("recipes", "Best recipes", [])
    names = [x for x in choices(recipes) if x not in {"arm", "intermediate"}]
    shown = recipes.nlargest(SHOWN_RECIPES, "gain")
    selected = ", ".join(sorted(study.languages))
    note = ""
    if study.languages != judged_languages(study.spec, study.catalogue):
        note = f" Gains and scores are on {selected}, which recipes are selected on."
    return Section(
        "recipes",
        "Best recipes of the search",
        [
            f"{len(shown)} of {len(recipes)} by the gain that the search model expects; beside it "
            f"the mean of its runs, whose best is a lucky one. All are in trials.csv.{note}"
        ],
        ("trial", "arm", "task", "gain", "measured", "runs", "score", *names),
        [
            row(
                *(x["trial"], x["arm"], x["intermediate"], in_points(x["gain"])),
                *(in_points(x["measured_gain"]), x["runs"], f"{100 * x['score']:.1f}"),
                *("-" if pd.isna(x[name]) else x[name] for name in names),
            )
            for x in shown.to_dict("records")
        ],
    )


def _notes_section(study: StoredStudy) -> Section:
    about = study.optuna_study.user_attrs
    notes = [x for name in ("unlike_arms", "overlap") for x in about.get(name, "").splitlines()]
    rest = len(notes) - SHOWN_NOTES
    more = [f"{rest} more are in the study's attributes in Optuna."] if rest > 0 else []
    return Section("notes", "Notes", [*notes[:SHOWN_NOTES], *more])


def _troubles_section(landscape: Landscape) -> Section:
    scores = landscape.scores
    if not len(scores):
        return Section("troubles", "Trials without a result", [])
    troubled = scores[scores["state"].isin(["fail", "pruned"])]
    rest = len(troubled) - SHOWN_TROUBLES
    return Section(
        "troubles",
        "Trials without a result",
        [f"{rest} more are in trials.csv."] if rest > 0 else [],
        ("", "number", "state", "reason", "arm", "task"),
        [
            row(x.kind, x.trial, x.state, x.reason, x.arm, x.intermediate)
            for x in troubled.head(SHOWN_TROUBLES).itertuples()
        ],
    )
