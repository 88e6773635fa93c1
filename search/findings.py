"""What a study found, in words and numbers: the content of page, Markdown and JSON alike.

The answer is a confirmation's, where there is one. Else it says that it is not confirmed.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import TrialState

from objectives.gain import in_points
from objectives.statistics import Verdict
from search.claims import ClaimVerdict, check_claims, claim_lines
from search.cost import StudyCost, study_cost
from search.figures import SHOWN_CURVES
from search.landscape import FEWEST_FOR_FOREST, FEWEST_FOR_IMPORTANCE, Landscape, read_landscape
from search.results import StudyResults
from search.summary import ArmSummary, summarize_arms, trial_counts, tuned_baseline
from search.verdicts import VerdictRow, means, recipe_names, verdict_line, with_interval
from spaces.studies import NO_INTERMEDIATE
from storage.ledger import Confirmation

SHOWN_RECIPES, SHOWN_TROUBLES, SHOWN_NOTES = 20, 20, 40


@dataclass(frozen=True)
class Summary:
    """The first screen.

    Attributes:
        answer: To the question, in a sentence or two.
        how_sure: What the answer rests on.
        asked: What was compared, on what.
        cost: Time.
        next: What to do: in words, and the command, if there is one. The first is the advice.
    """

    answer: str
    how_sure: list[str]
    asked: str
    cost: str
    next: list[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """A part of the report below the first screen.

    Attributes:
        name: Its figure's, where it has one.
        title: Heading.
        lines: What is to be known of it.
        columns: Heads of its table.
        rows: Its table.
    """

    name: str
    title: str
    lines: list[str]
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)

    def is_text(self, place: int) -> bool:
        """Whether a column holds words, not numbers."""
        return not all(row[place][:1] in "+-0123456789" for row in self.rows)


@dataclass(frozen=True)
class Findings:
    """All of it.

    Attributes:
        study: Its name.
        question: Of its file.
        is_pocket: Whether it is about the pocket corpora.
        summary: The first screen.
        sections: What follows, provenance last.
        landscape: The numbers of the search.
        arms: Of the search.
        confirmed: The verdicts of the last confirmation that is done.
        confirmations: All of them.
        claims: Of the study.
        cost: Of the search.
        states: State -> how many trials.
        provenance: What the study was made from and with.
    """

    study: str
    question: str
    is_pocket: bool
    summary: Summary
    sections: list[Section]
    landscape: Landscape
    arms: list[ArmSummary]
    confirmed: list[VerdictRow]
    confirmations: list[Confirmation]
    claims: list[ClaimVerdict]
    cost: StudyCost
    states: Mapping[str, int]
    provenance: Mapping[str, str]

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.study}{' (pocket corpora)' if self.is_pocket else ''}: {self.question}"

    def in_markdown(self, figures: Collection[str]) -> str:
        """The report as Markdown.

        Args:
            figures: Names of those that lie in `figures/` as PNG.
        """
        summary = self.summary
        lines = [f"# {_md(self.title)}", ""]
        if self.is_pocket:
            lines += [f"> {POCKET}", ""]
        lines += [f"**{_md(summary.answer)}**", ""]
        lines += [f"- How sure: {_md(line)}" for line in summary.how_sure]
        lines += [
            f"- What was asked: {_md(summary.asked)}",
            f"- What it cost: {_md(summary.cost)}",
        ]
        for words, command in summary.next:
            lines += [f"- What to do next: {_md(words)}", ""]
            lines += ["  ```sh", f"  {command}", "  ```", ""] if command else []
        for section in self.sections:
            pocket = " (pocket corpora)" if self.is_pocket else ""
            lines += [f"## {section.title}{'' if section.name == 'provenance' else pocket}", ""]
            for line in section.lines:
                lines += [_md(line), ""]
            if section.name in figures:
                lines += [f"![{section.title}](figures/{section.name}.png)", ""]
            if section.rows:
                marks = (
                    "---" if section.is_text(i) else "--:" for i in range(len(section.columns))
                )
                rows = [[_md(cell) for cell in row] for row in (section.columns, *section.rows)]
                lines += [f"| {' | '.join(row)} |" for row in (rows[0], list(marks), *rows[1:])]
                lines += [""]
        return "\n".join(lines)


POCKET = (
    "Pocket corpora: generated text with planted effects. These figures say nothing about any "
    "real language."
)


def find(results: StudyResults, words: str) -> Findings:
    """Read a study and put into words what it found.

    Args:
        results: Of the study.
        words: The options that name it in a command.
    """
    spec, languages = results.spec, results.languages
    landscape = read_landscape(results)
    arms = summarize_arms(results.recipes, spec.arms, languages)
    cost = study_cost(results.ledger, results.name)
    claims = check_claims(spec, results.recipes, languages)
    looks = results.confirmations
    done = [look for look in looks if look.result is not None]
    confirmed = list(done[-1].result["verdicts"]) if done and done[-1].result else []
    states = trial_counts(results.study)
    provenance = _provenance(results)
    sections = [
        _arms_section(results, landscape, arms),
        *_confirmed_section(done),
        _matrix_section(landscape),
        _additive_section(landscape),
        _surface_section(landscape),
        _importance_section(landscape),
        _pareto_section(landscape),
        _epochs_section(landscape),
        _recipes_section(landscape),
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
    return Findings(
        study=results.name,
        question=spec.question,
        is_pocket=results.is_pocket,
        summary=Summary(
            answer=_answer(results, landscape, done),
            how_sure=_how_sure(results, landscape, done),
            asked=_asked(results),
            cost=_cost_in_words(cost, done),
            next=_next_steps(results, looks, words),
        ),
        sections=[section for section in sections if section.lines or section.rows],
        landscape=landscape,
        arms=arms,
        confirmed=confirmed,
        confirmations=looks,
        claims=claims,
        cost=cost,
        states=states,
        provenance=provenance,
    )


# --- the first screen


def _answer(results: StudyResults, landscape: Landscape, done: Sequence[Confirmation]) -> str:
    if not results.recipes:
        return "No answer yet: no trial is complete."
    if done:
        return _confirmed_answer(done[-1])
    judged = sorted(means(landscape.leaders), key=lambda row: -row["gain"])
    if not judged:
        return (
            "No answer yet: no recipe with an intermediate task is complete on seeds that the "
            "tuned baseline has too."
        )
    best = judged[0]
    recipe = next(x for x in results.recipes if x.first.number == best["trial"])
    name = f"{recipe.task} ({recipe.arm}, trial {best['trial']})"
    gain = f"{with_interval(best)} points over training directly, well tuned"
    if best["verdict"] == Verdict.HELPS:
        return f"Not confirmed: training on {name} first seems to help, {gain}."
    if best["gain"] <= 0:
        return f"Not confirmed: nothing beats training directly; the nearest is {name}, {gain}."
    return f"Not confirmed: the best is {name}, {gain}, which is no reliable difference."


def _confirmed_answer(look: Confirmation) -> str:
    assert look.result is not None
    rows, names = means(look.result["verdicts"]), recipe_names(look.plan)
    by_verdict = {
        verdict: sorted((x for x in rows if x["verdict"] == verdict), key=lambda x: -x["gain"])
        for verdict in Verdict
    }
    helping, hurting = by_verdict[Verdict.HELPS], by_verdict[Verdict.HURTS]
    if helping:
        best = helping[0]
        answer = (
            f"Train on {names[best['trial']]} first: it helps, {with_interval(best)} points over "
            f"training directly, well tuned."
        )
        if len(helping) > 1:
            others = ", ".join(names[row["trial"]] for row in helping[1:])
            answer += f" So does {others}, by {in_points(helping[1]['gain'])} or less."
    else:
        answer = f"Undecided: none of the {len(rows)} recipes that were confirmed helps reliably."
    if hurting:
        names_of = ", ".join(
            f"{names[row['trial']]} by {in_points(row['gain'])}" for row in hurting
        )
        answer += f" Reliably worse: {names_of}."
    return answer


def _how_sure(
    results: StudyResults, landscape: Landscape, done: Sequence[Confirmation]
) -> list[str]:
    if not results.recipes:
        return []
    if not done:
        count = len(results.recipes)
        lines = [
            f"Exploratory: the recipes were chosen by the same {results.spec.selection} scores "
            f"that judge them here. The best of {count} flatters; only a confirmation says by how "
            f"much."
        ]
        if hurt := [x for x in means(landscape.leaders) if x["detectable"] is not None]:
            smallest = min(x["detectable"] or 0.0 for x in hurt)
            lines.append(
                f"With the seeds so far, a gain below {smallest:.1f} points would often be missed."
            )
        return lines
    look = done[-1]
    assert look.result is not None
    rows = look.result["verdicts"]
    cells = [row for row in rows if row["task"]]
    helps, hurts = (
        sum(row["verdict"] == verdict for row in cells)
        for verdict in (Verdict.HELPS, Verdict.HURTS)
    )
    lines = [
        f"Confirmed on {look.begun_at[:10]}: {len(look.plan['recipes'])} recipes chosen "
        f"before any test split was read, {len(look.plan['seeds'])} fresh seeds, test splits, "
        f"against the tuned baseline (trial {look.plan['baseline_trial']}). The verdicts are "
        f"corrected so that at most 5 % of such studies have a wrong one."
    ]
    lines += [
        f"{verdict_line(row, recipe_names(look.plan)[row['trial']])}." for row in means(rows)
    ]
    lines.append(
        f"Of {len(cells)} recipes in single languages {helps} help reliably, {hurts} hurt; of the "
        f"rest nothing reliable can be said."
    )
    if look.look > 1:
        lines.append(
            f"This is look {look.look} at the same test splits: what was chosen after an earlier "
            f"look is less sure than these numbers say."
        )
    trials = sum(len(recipe.trials) for recipe in results.recipes)
    if (newer := trials - look.plan["trials_of_the_search"]) > 0:
        lines.append(f"The search has gone on since: {newer} trials are not in this.")
    return lines


def _asked(results: StudyResults) -> str:
    spec, catalogue = results.spec, results.catalogue
    targets = "; ".join(
        f"{task.name} in {', '.join(spec.target_languages(task))}"
        for task in spec.target_tasks(catalogue)
    )
    states = ", ".join(f"{n} {state}" for state, n in trial_counts(results.study).items())
    return (
        f"Arms {', '.join(spec.arms)}; {len(spec.intermediate.tasks)} intermediate tasks; targets "
        f"{targets}; {len(results.recipes)} recipes in {states or 'no'} trials; selected on "
        f"{spec.selection}."
    )


def _cost_in_words(cost: StudyCost, done: Sequence[Confirmation]) -> str:
    words = (
        f"{_duration(cost.trained.seconds)} of training and scoring, where trials that share "
        f"nothing would have taken {_duration(cost.asked.seconds)}"
    )
    if cost.spent_elsewhere.seconds >= 1:
        words += f"; {_duration(cost.spent_elsewhere.seconds)} went into trials without a result"
    seconds = sum(look.result["seconds"] for look in done if look.result)
    return words + (f"; confirming took {_duration(seconds)}." if done else ".")


def _next_steps(
    results: StudyResults, looks: Sequence[Confirmation], words: str
) -> list[tuple[str, str]]:
    confirm, trials = (
        f"python -m search.confirm {words}",
        len(results.study.get_trials(deepcopy=False)),
    )
    more = f"python -m search.run {words} --trials {max(2 * trials, results.spec.trials)}"
    same = "with the --set, --data and --backbone that the study was made with"
    if looks and looks[-1].result is None:
        return [("A confirmation was begun and not finished; this goes on with it.", confirm)]
    if looks:
        decided = (
            "Nothing is left to decide: another look at the same test splits (--again) would make "
            "these verdicts weaker. This writes the model to use:"
        )
        folder = shlex.quote(f"{results.name}-model")
        return [(decided, f"python -m search.export {words} --to {folder}")]
    if running := results.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        wait = f"Running trials: {len(running)}. Report again when they have ended."
        return [(wait, f"python -m search.report {words}")]
    tried = {recipe.arm for recipe in results.recipes}
    if missing := [arm for arm in results.spec.arms if arm not in tried]:
        return [(f"Go on searching, {same}: {', '.join(missing)} has no recipe yet.", more)]
    return [
        ("Confirm the leaders with fresh seeds on the test splits. That counts once.", confirm),
        (f"Or search on before, {same}:", more),
    ]


# --- sections


def _arms_section(
    results: StudyResults, landscape: Landscape, arms: Sequence[ArmSummary]
) -> Section:
    tuned = tuned_baseline(results.recipes, results.languages)
    if tuned is None:
        return Section("arms", "Arms", [])
    judged = {row["trial"]: row for row in means(landscape.leaders)}
    rows = []
    for arm in arms:
        if arm.best is None:
            rows.append([arm.arm, "-", "0", *[""] * 6])
            continue
        none, row = arm.arm == NO_INTERMEDIATE, judged.get(arm.best.first.number)
        rows.append(
            [
                arm.arm,
                arm.best.task or "-",
                str(arm.recipes),
                f"{100 * arm.score.overall_score(results.languages):.1f}",
                "0 by definition" if none else with_interval(row) if row else "no common seed",
                "" if none or row is None else row["verdict"],
                str(arm.score.seeds),
                "" if none else in_points(arm.best.gain.overall_paired_gain(results.languages)),
                str(arm.best.first.number),
            ]
        )
    columns = ("arm", "task", "recipes", "score", "gain over tuned baseline", "by search alone")
    return Section(
        "arms",
        "The arms",
        [
            f"The best recipe of each arm against the tuned baseline (trial "
            f"{tuned.first.number}), on seeds that both have. Gains are percentage points with 95 "
            f"% intervals, scores percent. The search's own scores chose these recipes and judge "
            f"them: open circles flatter."
        ],
        (*columns, "seeds", "paired gain", "trial"),
        rows,
    )


def _confirmed_section(done: Sequence[Confirmation]) -> list[Section]:
    if not done:
        return []
    look = done[-1]
    assert look.result is not None
    names = recipe_names(look.plan)
    cells = {
        (row["task"], row["language"], row["trial"]): row
        for row in look.result["verdicts"]
        if row["task"]
    }
    marks = {Verdict.HELPS: " helps", Verdict.HURTS: " hurts", Verdict.UNDECIDED: ""}
    rows = []
    for task, language in dict.fromkeys((task, language) for task, language, _ in cells):
        found = [cells[task, language, trial] for trial in names]
        verdicts = [with_interval(row) + marks[Verdict(row["verdict"])] for row in found]
        rows.append([task, language, str(found[0]["examples"]), *verdicts])
    detectable = [row["detectable"] for row in cells.values() if row["detectable"] is not None]
    lines = [
        f"Gains over the tuned baseline on test splits, {len(look.plan['seeds'])} fresh seeds. "
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


def _matrix_section(landscape: Landscape) -> Section:
    matrix = landscape.matrix
    if not len(matrix):
        return Section("matrix", "Transfer matrix", [])
    flagged = matrix["transfer"].value_counts()
    harmful = matrix[matrix["transfer"] == "negative"]
    judged = len(matrix) - int(matrix["low"].isna().sum())
    lines = [
        "Mean paired gain (against the same target stage without the intermediate task) of each "
        "intermediate task's recipes."
    ]
    if judged:
        lines.append(
            f"{judged} of {len(matrix)} cells have the two recipes and two seeds that an interval "
            f"takes: {flagged.get('negative', 0)} show negative transfer, "
            f"{flagged.get('positive', 0)} positive. Each is tested by itself, so chance alone "
            f"would show some {max(1, round(0.05 * judged))}."
        )
    else:
        lines.append("None has the two recipes and two seeds that an interval takes.")
    if len(harmful):
        worst = harmful.nsmallest(5, "paired_gain")
        lines.append(
            "Negative transfer: "
            + "; ".join(
                f"{x.intermediate} to {x.task} {x.language} "
                f"{_interval(x.paired_gain, x.low, x.high)}"
                for x in worst.itertuples()
            )
            + ("; ..." if len(harmful) > len(worst) else ".")
        )
    return Section(
        "matrix",
        "Transfer matrix",
        lines,
        ("intermediate", "target task", "language", "paired gain", "recipes", "seeds", "transfer"),
        [
            [
                x.intermediate,
                x.task,
                x.language,
                _interval(x.paired_gain, x.low, x.high),
                str(x.recipes),
                str(x.seeds),
                x.transfer,
            ]
            for x in matrix.itertuples()
        ],
    )


def _additive_section(landscape: Landscape) -> Section:
    additive = landscape.additive
    if additive is None:
        return Section("additive", "Task plus language", [])
    tasks = additive.tasks.sort_values("coefficient", ascending=False)
    rows = [
        [
            "intermediate task",
            x.intermediate,
            _interval(x.coefficient, x.low, x.high),
            str(x.recipes),
        ]
        for x in tasks.itertuples()
    ]
    rows += [
        [
            "target",
            f"{x.task} {x.language}",
            _interval(x.coefficient, x.low, x.high),
            str(additive.recipes),
        ]
        for x in additive.cells.itertuples()
    ]
    return Section(
        "additive",
        "Task plus language",
        [
            f"Were the paired gain a(intermediate task) + b(target), that would explain "
            f"{additive.explained:.0%} of its variance over {additive.recipes} recipes and all "
            f"targets ({_percent(additive.explained_adjusted)} less what as many coefficients "
            f"explain by chance), and {additive.explained_of_means:.0%} of the matrix. The rest "
            f"is the match of task and target, other choices, and noise.",
            "Points; a target's are beside the mean. 95 %: other recipes.",
        ],
        ("of", "name", "coefficient", "recipes"),
        rows,
    )


def _surface_section(landscape: Landscape) -> Section:
    surface = landscape.surface
    if surface is None:
        found = len(landscape.recipes)
        line = f"A forest takes {FEWEST_FOR_FOREST} recipes, found {found}."
        return Section("landscape", "The gain over all choices", [line] if found else [])
    verdict = (
        "It is better than the mean beyond chance"
        if surface.is_better
        else "It is NO better than predicting the mean, so do not read the map"
    )
    rows = [
        [
            x["arm"],
            *(
                "-" if pd.isna(x[name]) else f"{x[name]:.3g}"
                for name in surface.grid.columns[1:-3]
            ),
            f"{in_points(x['mean'])} ± {x['sd']:.1f}",
            str(x["recipes"]),
        ]
        for x in surface.grid.to_dict("records")
    ]
    return Section(
        "landscape",
        "The gain over all choices",
        [
            f"A random forest of {surface.recipes} recipes. In cross-validation it is off by "
            f"{surface.error:.1f} points, predicting the mean by {surface.error_of_mean:.1f}. "
            f"{verdict}. Gains over the reference baseline; ± is the standard deviation between "
            f"trees."
        ],
        ("arm", *surface.grid.columns[1:-3], "predicted gain", "recipes tried"),
        rows,
    )


def _importance_section(landscape: Landscape) -> Section:
    importance, found = landscape.importance, len(landscape.recipes)
    if not len(importance):
        line = f"PED-ANOVA takes {FEWEST_FOR_IMPORTANCE} recipes, found {found}."
        return Section("importance", "Importance of each choice", [line] if found else [])
    above = importance[importance["importance"] > importance["chance"]]["choice"]
    return Section(
        "importance",
        "Importance of each choice",
        [
            f"PED-ANOVA: what sets the best tenth of recipes apart from all. Beyond what 95 % of "
            f"shuffled studies show: {', '.join(above) or 'nothing'}."
        ],
        ("choice", "importance", "95 % of chance", "recipes"),
        [
            [x.choice, f"{x.importance:.4f}", f"{x.chance:.4f}", str(x.recipes)]
            for x in importance.itertuples()
        ],
    )


def _pareto_section(landscape: Landscape) -> Section:
    recipes = landscape.recipes
    if not len(recipes):
        return Section("pareto", "Gain against time", [])
    front = recipes[recipes["is_on_front"]].sort_values("seconds")
    return Section(
        "pareto",
        "Gain against time",
        [
            "What a recipe's training asks for, per seed, were nothing shared. The front has the "
            "most gain for the time, and flatters as every best does. Seconds of different "
            "machines are not alike."
        ],
        ("trial", "arm", "task", "gain", "seeds", "seconds"),
        [
            [
                str(x.trial),
                x.arm,
                x.intermediate or "-",
                _interval(x.gain, x.low, x.high),
                str(x.seeds),
                f"{x.seconds:.1f}",
            ]
            for x in front.itertuples()
        ],
    )


def _epochs_section(landscape: Landscape) -> Section:
    curves = landscape.curves
    if not len(curves):
        return Section("epochs", "Along the epochs", [])
    best = curves.groupby("curve")["gain"].max().nlargest(SHOWN_CURVES).index
    shown = curves[curves["curve"].isin(best)]
    return Section(
        "epochs",
        "Along the epochs",
        ["Recipes alike but for the epochs of the intermediate stage. 95 %: other seeds."],
        ("arm", "task", "epochs", "gain", "seeds", "trial"),
        [
            [
                str(x["arm"]),
                str(x["intermediate"]),
                str(x["intermediate.epochs"]),
                _interval(x["gain"], x["low"], x["high"]),
                str(x["seeds"]),
                str(x["trial"]),
            ]
            for x in shown.to_dict("records")
        ],
    )


def _recipes_section(landscape: Landscape) -> Section:
    recipes = landscape.recipes
    if not len(recipes):
        return Section("recipes", "Best recipes", [])
    known = {"trial", "trials", "seeds", "gain", "low", "high", "paired_gain", "score", "seconds"}
    names = [x for x in recipes if x not in known | {"is_on_front", "arm", "intermediate"}]
    shown = recipes.nlargest(SHOWN_RECIPES, "gain")
    return Section(
        "recipes",
        "Best recipes of the search",
        [
            f"{len(shown)} of {len(recipes)} by gain over the reference baseline; all are in "
            f"trials.csv. 95 %: other seeds."
        ],
        ("trial", "arm", "task", "gain", "seeds", "paired gain", "score", *names),
        [
            [
                str(x["trial"]),
                x["arm"],
                x["intermediate"] or "-",
                _interval(x["gain"], x["low"], x["high"]),
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


def _notes_section(results: StudyResults) -> Section:
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


def _provenance(results: StudyResults) -> dict[str, str]:
    about, frozen = results.study.user_attrs, results.frozen
    kept = ("data", "data_revisions", "backbone", "transfer_search_version", "optuna_version")
    stages = results.ledger.trained_stages(results.name).values()
    versions = {f"{n} {v}" for stage in stages for n, v in stage.versions.items()}
    facts = {name.replace("_", " "): str(about[name]) for name in kept if about.get(name)}
    return facts | {
        "precision": str(frozen["precision"]),
        "seeds of a trial": str(results.spec.seeds),
        "devices": ", ".join(sorted({stage.device for stage in stages})),
        "versions": ", ".join(sorted(versions)),
        "encoders": ", ".join(f"{n} {str(key)[:12]}" for n, key in frozen["backbones"].items()),
        "storage": results.shown_url,
        "study file": json.dumps(frozen["spec"]),
    }


# --- JSON, and how things are written


def as_json(findings: Findings) -> dict[str, Any]:
    """All numbers, in JSON's types; what is not known is null."""
    landscape, cost = findings.landscape, findings.cost
    content = {
        "study": findings.study,
        "question": findings.question,
        "is_pocket": findings.is_pocket,
        **asdict(findings.summary),
        "trials": dict(findings.states),
        "arms": [
            {
                "arm": arm.arm,
                "recipes": arm.recipes,
                "trial": arm.best.first.number if arm.best else None,
                "intermediate": arm.best.task if arm.best else None,
                "tuned_gain": arm.tuned_gain,
                "mean_paired_gain": arm.mean_paired_gain,
            }
            for arm in findings.arms
        ],
        "leaders": landscape.leaders,
        "confirmations": [asdict(look) for look in findings.confirmations],
        "recipes": landscape.recipes,
        "transfer_matrix": landscape.matrix,
        "additive": landscape.additive and vars(landscape.additive),
        "landscape": landscape.surface and vars(landscape.surface),
        "importance": landscape.importance,
        "pareto_front": list(landscape.recipes.query("is_on_front")["trial"])
        if len(landscape.recipes)
        else [],
        "epoch_curves": landscape.curves,
        "claims": [
            {"text": x.claim.text, "outcome": x.outcome, "because": x.because}
            for x in findings.claims
        ],
        "cost": {
            "trials": cost.trials,
            "asked": asdict(cost.asked),
            "trained": asdict(cost.trained),
            "saved": {name: asdict(saved) for name, saved in cost.saved.items()},
            "spent_elsewhere": asdict(cost.spent_elsewhere),
        },
        "provenance": dict(findings.provenance),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return _plain(value.to_dict("records"))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _interval(gain: float, low: float, high: float) -> str:
    if math.isnan(low):
        return f"{in_points(gain)} [not known]"
    return f"{in_points(gain)} [{in_points(low)}, {in_points(high)}]"


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{share:.0%}"


def _duration(seconds: float) -> str:
    """As in `3 h 20 min`, `12 min` or `40 s`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _md(text: str) -> str:
    """Text that Markdown takes for itself."""
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
