"""The sections of a report: what was tried and confirmed, the landscape, notes, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from objectives.gains.transfer_gain import in_points
from search.findings.arms import ArmSummary
from search.findings.claims import ClaimVerdict, claim_lines
from search.findings.confirmation import ConfirmationResult, Look, finished, looks_of
from search.findings.landscape import Landscape
from search.findings.trial_tables import choices
from search.findings.verdict_words import cell_rows, points_with_interval, with_interval
from search.reporting.landscape_sections import Section, landscape_sections, row
from search.studies.stored_study import StoredStudy
from spaces.studies import NO_INTERMEDIATE

SHOWN_RECIPES, SHOWN_TROUBLES, SHOWN_NOTES = 20, 20, 40


def report_sections(
    study: StoredStudy,
    landscape: Landscape,
    arms: Sequence[ArmSummary],
    claims: Sequence[ClaimVerdict],
    provenance: Mapping[str, str],
) -> list[Section]:
    """Those that have anything to say, in the order of the report, provenance last."""
    done = finished(looks_of(study))
    sections = [
        _arms_section(study, landscape, arms),
        *_confirmed_section(done),
        *landscape_sections(landscape),
        _recipes_section(study, landscape),
        Section(
            "claims",
            "Claims of papers, held against the trials",
            [f"{line[0].upper()}{line[1:]}." for line in claim_lines(claims)],
        ),
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


def _arms_section(study: StoredStudy, landscape: Landscape, arms: Sequence[ArmSummary]) -> Section:
    standings = landscape.standings
    tuned, languages = standings.baseline, standings.judged_on
    if tuned is None:
        return Section("arms", "Arms", [])
    judged = {x.trial: x.gain for x in landscape.leaders.recipes}
    rows = []
    for arm in arms:
        if arm.best is None:
            rows.append([arm.arm, "-", "0", *[""] * 6])
            continue
        none, gain = arm.arm == NO_INTERMEDIATE, judged.get(arm.best.first.number)
        score = seeds = paired = ""
        if arm.gain is not None:
            score, seeds = f"{100 * arm.gain.overall_score(languages):.1f}", str(arm.gain.seeds)
            paired = "" if none else in_points(arm.gain.overall_paired_gain(languages))
        rows.append(
            row(
                *(arm.arm, arm.best.task or "-", arm.recipes, score),
                "0 by definition" if none else with_interval(gain) if gain else "no common seed",
                "" if none or gain is None else gain.verdict,
                *(seeds, paired, arm.best.first.number),
            )
        )
    columns = ("arm", "task", "recipes", "score", "gain over tuned baseline", "by search alone")
    return Section(
        "arms",
        "The arms",
        [
            f"The best recipe of each arm against the tuned baseline (trial "
            f"{tuned.first.number}), on seeds that both have. Gains are percentage points, scores "
            f"percent; intervals are of 95 %, over other seeds and examples, with one seed over "
            f"other examples alone. The search's own scores chose these recipes and judge "
            f"them: open circles flatter."
        ],
        (*columns, "seeds", "paired gain", "trial"),
        rows,
    )


def _confirmed_section(done: Sequence[tuple[Look, ConfirmationResult]]) -> list[Section]:
    if not done:
        return []
    look, result = done[-1]
    names = look.plan.names
    rows = cell_rows(result.verdicts, list(names))
    gains = [cell.gain for cell in result.verdicts.cells]
    detectable = [gain.detectable for gain in gains if gain.detectable is not None]
    lines = [
        f"Gains over the tuned baseline on test splits, {len(look.plan.seeds)} fresh seeds. "
        f"The intervals are of 95 %, each by itself; the verdicts are corrected for all of the "
        f"table (Holm), and where none stands there is no reliable difference."
    ]
    if detectable:
        lines.append(
            f"Minimum detectable effects at 80 % power: {min(detectable):.1f} to "
            f"{max(detectable):.1f} points."
        )
    columns = ("target task", "language", "examples", *names.values())
    return [Section("confirmed", "Confirmed, by language", lines, columns, rows)]


def _recipes_section(study: StoredStudy, landscape: Landscape) -> Section:
    recipes = landscape.recipes
    if not len(recipes):
        return Section("recipes", "Best recipes", [])
    names = [x for x in choices(recipes) if x not in {"arm", "intermediate"}]
    shown = recipes.nlargest(SHOWN_RECIPES, "gain")
    standings = landscape.standings
    selected = ", ".join(sorted(standings.selected_on))
    note = f" Gains and scores are on {selected}, which recipes are selected on."
    if standings.selected_on == standings.judged_on:
        note = ""
    return Section(
        "recipes",
        "Best recipes of the search",
        [
            f"{len(shown)} of {len(recipes)} by gain over the reference baseline; all are in "
            f"trials.csv. 95 %: other seeds.{note}"
        ],
        ("trial", "arm", "task", "gain", "seeds", "paired gain", "score", *names),
        [
            row(
                *(x["trial"], x["arm"], x["intermediate"] or "-"),
                points_with_interval(x["gain"], x["low"], x["high"]),
                *(x["seeds"], in_points(x["paired_gain"]), f"{100 * x['score']:.1f}"),
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
        ("trial", "state", "reason", "arm", "task"),
        [
            row(x.trial, x.state, x.reason, x.arm, x.intermediate)
            for x in troubled.head(SHOWN_TROUBLES).itertuples()
        ],
    )
