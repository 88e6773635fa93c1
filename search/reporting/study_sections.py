"""The sections of a report: what was tried and confirmed, the landscape, notes, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from objectives.gains.transfer_gain import in_points
from search.findings.arms import ArmSummary
from search.findings.claims import ClaimVerdict, claim_lines
from search.findings.confirmation import ConfirmationResult, Look, finished, looks_of
from search.findings.landscape import Landscape
from search.findings.selection import standings_of
from search.findings.verdict_words import MARKS, with_interval
from search.reporting.landscape_sections import landscape_sections
from search.reporting.section import Section, gain_with_interval
from search.studies.stored_study import StoredStudy
from spaces.studies import NO_INTERMEDIATE

SHOWN_RECIPES, SHOWN_TROUBLES, SHOWN_NOTES = 20, 20, 40


def report_sections(
    results: StoredStudy,
    landscape: Landscape,
    arms: Sequence[ArmSummary],
    claims: Sequence[ClaimVerdict],
    provenance: Mapping[str, str],
) -> list[Section]:
    """Those that have anything to say, in the order of the report, provenance last."""
    done = finished(looks_of(results))
    sections = [
        _arms_section(results, landscape, arms),
        *_confirmed_section(done),
        *landscape_sections(landscape),
        _recipes_section(results, landscape),
        _claims_section(claims),
        _notes_section(results),
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


def _arms_section(
    results: StoredStudy, landscape: Landscape, arms: Sequence[ArmSummary]
) -> Section:
    standings = standings_of(results)
    tuned, languages = standings.baseline, standings.judged_on
    if tuned is None:
        return Section("arms", "Arms", [])
    judged = {x.trial: x.gain for x in landscape.leaders.recipes}
    rows = []
    for arm in arms:
        if arm.best is None:
            rows.append([arm.arm, "-", "0", *[""] * 6])
            continue
        none, gain = arm.arm == NO_INTERMEDIATE, judged.get(arm.best.trial)
        rows.append(
            [
                arm.arm,
                arm.best.task or "-",
                str(arm.recipes),
                f"{100 * arm.best.gain.overall_score(languages):.1f}",
                "0 by definition" if none else with_interval(gain) if gain else "no common seed",
                "" if none or gain is None else str(gain.verdict),
                str(arm.best.gain.seeds),
                "" if none else in_points(arm.best.gain.overall_paired_gain(languages)),
                str(arm.best.trial),
            ]
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
    cells = {(x.task, x.language, x.trial): x.gain for x in result.verdicts.cells}
    rows = []
    for task, language in dict.fromkeys((task, language) for task, language, _ in cells):
        gains = [cells[task, language, trial] for trial in names]
        verdicts = [with_interval(gain) + MARKS[gain.verdict] for gain in gains]
        rows.append([task, language, str(gains[0].examples), *verdicts])
    detectable = [x.detectable for x in cells.values() if x.detectable is not None]
    lines = [
        f"Gains over the tuned baseline on test splits, {len(look.plan.seeds)} fresh seeds. "
        f"The intervals are of 95 %, each by itself; the verdicts are corrected for all of the "
        f"table (Holm), and where none stands there is no reliable difference."
    ]
    if detectable:
        lines.append(
            f"The smallest gain that would be found in 80 % of such studies: "
            f"{min(detectable):.1f} to {max(detectable):.1f} points."
        )
    columns = ("target task", "language", "examples", *names.values())
    return [Section("confirmed", "Confirmed, by language", lines, columns, rows)]


def _recipes_section(results: StoredStudy, landscape: Landscape) -> Section:
    recipes = landscape.recipes
    if not len(recipes):
        return Section("recipes", "Best recipes", [])
    known = {"trial", "trials", "seeds", "gain", "low", "high", "paired_gain", "score", "seconds"}
    names = [x for x in recipes if x not in known | {"is_on_front", "arm", "intermediate"}]
    shown = recipes.nlargest(SHOWN_RECIPES, "gain")
    standings = standings_of(results)
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
            [
                str(x["trial"]),
                x["arm"],
                x["intermediate"] or "-",
                gain_with_interval(x["gain"], x["low"], x["high"]),
                str(x["seeds"]),
                in_points(x["paired_gain"]),
                f"{100 * x['score']:.1f}",
                *("-" if pd.isna(x[name]) else str(x[name]) for name in names),
            ]
            for x in shown.to_dict("records")
        ],
    )


def _claims_section(claims: Sequence[ClaimVerdict]) -> Section:
    lines = [f"{line[0].upper()}{line[1:]}." for line in claim_lines(claims)]
    return Section("claims", "Claims of papers, held against the trials", lines)


def _notes_section(results: StoredStudy) -> Section:
    about = results.study.user_attrs
    notes = [x for name in ("unlike_arms", "overlap") for x in about.get(name, "").splitlines()]
    rest = len(notes) - SHOWN_NOTES
    more = [f"{rest} more are in the study's attributes in Optuna."] if rest > 0 else []
    return Section("notes", "Mind", [*notes[:SHOWN_NOTES], *more])


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
            [str(x.trial), x.state, x.reason, x.arm, x.intermediate]
            for x in troubled.head(SHOWN_TROUBLES).itertuples()
        ],
    )
