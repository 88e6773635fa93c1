"""What a study found so far: one row per arm, from Optuna's trials and the ledger."""

from __future__ import annotations

import io
import math
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna_dashboard import get_note, save_note
from rich import box
from rich.console import Console
from rich.table import Table

from objectives.gains.transfer_gain import TransferGain, by_task, in_points
from search.command_line.options import DEFAULT_STORAGE
from search.cost import study_cost
from search.findings.claims import check_claims, claim_lines
from search.findings.judging import confirmation_lines
from search.studies.recipes import FinishedRecipe, best_of_arm, finished_recipes, leaders
from spaces.catalogue import Catalogue
from spaces.studies import NO_INTERMEDIATE, StudySpec
from storage.ledger import Ledger
from storage.tables import Confirmation

if TYPE_CHECKING:  # it reads data; what only shows a study does without
    from objectives.data.sources import DataSource
    from search.studies.stored_study import StoredStudy

# Columns of the tables where no terminal says how many there are.
WIDTH = 110


@dataclass(frozen=True)
class ArmSummary:
    """One arm of a study.

    Attributes:
        arm: none, general, biomedical, legal or mixed.
        recipes: How many it has finished.
        best: Its leader; None while there is none. In the arm "none" the recipe whose baseline is
            the tuned baseline.
        by_language: (task, language) -> gain of `best` over the tuned baseline, in points.
        tuned_gain: Of all its targets together, in points.
        mean_paired_gain: Over its recipes, each against its own baseline, in points.
    """

    arm: str
    recipes: int
    best: FinishedRecipe | None = None
    by_language: Mapping[tuple[str, str], float] = field(default_factory=dict)
    tuned_gain: float = math.nan
    mean_paired_gain: float = math.nan

    @property
    def score(self) -> TransferGain:
        """What scores `best` has."""
        assert self.best is not None, self.arm
        return self.best.gain.of_baseline() if self.arm == NO_INTERMEDIATE else self.best.gain


def tuned_baseline(
    recipes: Iterable[FinishedRecipe], languages: frozenset[str]
) -> FinishedRecipe | None:
    """The recipe whose baseline is the best of all; None where there is no recipe.

    A baseline is a recipe of the arm "none" with the same encoder and target stage; the one of
    most seeds and highest gain counts, whichever arm asked for it.
    """
    return max(
        recipes,
        key=lambda x: (x.is_repeated, x.gain.of_baseline().overall_gain(languages)),
        default=None,
    )


def summarize_arms(
    recipes: Sequence[FinishedRecipe], arms: Iterable[str], languages: frozenset[str]
) -> list[ArmSummary]:
    """One summary per arm, in the order given.

    Args:
        recipes: From `finished_recipes`.
        arms: Of the study.
        languages: Those that the study selects on.
    """
    leading, tuned = leaders(recipes, languages), tuned_baseline(recipes, languages)
    summaries = []
    for arm in arms:
        mine = [recipe for recipe in recipes if recipe.arm == arm]
        best = tuned if arm == NO_INTERMEDIATE else best_of_arm(leading, arm)
        if best is None or tuned is None:
            summaries.append(ArmSummary(arm, len(mine)))
            continue
        baseline = tuned.gain.of_baseline()
        gain = baseline if arm == NO_INTERMEDIATE else best.gain
        zero = baseline.by_language()
        paired = [recipe.gain.overall_paired_gain(languages) for recipe in mine]
        summaries.append(
            ArmSummary(
                arm=arm,
                recipes=len(mine),
                best=best,
                by_language={cell: x - zero[cell] for cell, x in gain.by_language().items()},
                tuned_gain=gain.overall_gain(languages) - baseline.overall_gain(languages),
                mean_paired_gain=fmean(paired) if paired else math.nan,
            )
        )
    return summaries


def arms_table(summaries: Sequence[ArmSummary], languages: frozenset[str], title: str) -> Table:
    """The arms: gains in percentage points, scores in percent."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("arm")
    for header in ("recipes", "best score", "tuned gain", "seeds", "paired gain", "mean paired"):
        table.add_column(header, justify="right")
    table.add_column("intermediate task")
    for summary in summaries:
        if summary.best is None:
            table.add_row(summary.arm, "0")
            continue
        gain, none = summary.score, summary.arm == NO_INTERMEDIATE
        table.add_row(
            summary.arm,
            str(summary.recipes),
            f"{100 * gain.overall_score(languages):.1f}",
            in_points(summary.tuned_gain),
            str(gain.seeds),
            "-" if none else in_points(gain.overall_paired_gain(languages)),
            "-" if none else in_points(summary.mean_paired_gain),
            "-" if none else summary.best.task,
        )
    return table


def tasks_table(summaries: Sequence[ArmSummary], languages: frozenset[str]) -> Table:
    """The tuned gains of each arm's best recipe by target task, the mean over its languages."""
    shown = [summary for summary in summaries if summary.best]
    table = Table(title="Tuned gains by target task", title_justify="left")
    table.add_column("target task")
    for summary in shown:
        table.add_column(summary.arm, justify="right")
    gains = [by_task(summary.by_language, languages) for summary in shown]
    for task in gains[0] if gains else ():
        table.add_row(task, *(in_points(gain[task]) for gain in gains))
    return table


def languages_table(summaries: Sequence[ArmSummary]) -> Table:
    """The tuned gains of each arm's best recipe by language, and over how many examples."""
    shown = [summary for summary in summaries if summary.best]
    table = Table(title="Tuned gains by language", title_justify="left")
    table.add_column("target task")
    table.add_column("language")
    table.add_column("examples", justify="right")
    for summary in shown:
        table.add_column(summary.arm, justify="right")
    # A gain over seven sentences must not look like one over seven hundred.
    pairs = shown[0].score.pairs if shown else ()
    sizes = {(pair.score.task, pair.score.language): pair.score.examples for pair in pairs}
    for (task, language), examples in sizes.items():
        points = (in_points(summary.by_language[task, language]) for summary in shown)
        table.add_row(task, language, str(examples), *points)
    return table


def show_result(
    study: Study,
    ledger: Ledger,
    spec: StudySpec,
    catalogue: Catalogue,
    source: DataSource,
    shown_url: str,
) -> None:
    """Print what was found, and keep it as the study's note in optuna-dashboard."""
    data = "pocket corpora" if source.kind == "pocket" else str(source)
    result = _Result.read(study, ledger, spec, catalogue, data)
    _print(result)
    save_note(study, result.in_markdown(ledger.confirmations(study.study_name), shown_url))


def show_results(results: StoredStudy) -> None:
    """As `show_result`, of a study whose data are elsewhere."""
    result = _result_of(results)
    _print(result)
    save_note(results.study, result.in_markdown(results.confirmations, results.shown_url))


def _print(result: _Result) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for table in result.tables():
        console.print(table)
    for line in result.lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def write_note(results: StoredStudy) -> None:
    """Keep what was found up to now as the study's note in optuna-dashboard."""
    note = _result_of(results).in_markdown(results.confirmations, results.shown_url)
    if note != get_note(results.study):
        save_note(results.study, note)


def _result_of(results: StoredStudy) -> _Result:
    study = results.study
    data = "pocket corpora" if results.is_pocket else study.user_attrs["data"]
    return _Result.read(study, results.ledger, results.spec, results.catalogue, data)


@dataclass(frozen=True)
class _Result:
    """What is shown of a study, on a terminal and in its note.

    Attributes:
        name: Of the study.
        spec: Of the study.
        data: Where its corpora are from.
        counts: Its trials, in words.
        languages: Those that it selects on.
        summaries: Of its arms.
        lines: What the tables leave to say.
    """

    name: str
    spec: StudySpec
    data: str
    counts: str
    languages: frozenset[str]
    summaries: Sequence[ArmSummary]
    lines: Sequence[str]

    @classmethod
    def read(
        cls, study: Study, ledger: Ledger, spec: StudySpec, catalogue: Catalogue, data: str
    ) -> _Result:
        """From Optuna and the ledger."""
        languages = spec.selection_languages(catalogue)
        recipes = finished_recipes(study, ledger, spec.target.aggregate)
        counts = (f"{number} {state}" for state, number in trial_counts(study).items())
        lines = (
            *_leaders(recipes, languages),
            *study.user_attrs.get("unlike_arms", "").splitlines(),
            study_cost(ledger, study.study_name).in_words(),
            *claim_lines(check_claims(spec, recipes, languages)),
        )
        return cls(
            name=study.study_name,
            spec=spec,
            data=data,
            counts=", ".join(counts),
            languages=languages,
            summaries=summarize_arms(recipes, spec.arms, languages),
            lines=lines,
        )

    @property
    def title(self) -> str:
        """Study and question; figures of the pocket corpora are named so."""
        where = " (pocket corpora)" if self.data == "pocket corpora" else ""
        return f"{self.name}{where}: {self.spec.question}"

    def tables(self) -> list[Table]:
        """By arm, by target task where there are several, and by language."""
        arms = arms_table(self.summaries, self.languages, self.title)
        arms.caption = (
            f"{self.data}; {self.counts}. Best recipes by {self.spec.selection}; gains are "
            f"percentage points: tuned, over the best recipe without an intermediate task; "
            f"paired, over the same target stage without it. Scores are percent."
        )
        by_task = [tasks_table(self.summaries, self.languages)]
        if len(self.spec.target.tasks) < 2:
            by_task = []
        return [arms, *by_task, languages_table(self.summaries)]

    def in_markdown(self, confirmations: Sequence[Confirmation], shown_url: str) -> str:
        """The note: verdicts first, then tables, then how to go on."""
        text = io.StringIO()
        # Markdown has a row per line, however long.
        console = Console(file=text, width=1000)

        def write(*lines: str) -> None:
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)

        write(f"## {self.title}", "")
        for head, *verdicts in map(confirmation_lines, confirmations):
            write(
                f"**{head[0].upper()}{head[1:]}**",
                "",
                *(f"- {line.strip()}" for line in verdicts),
                "",
            )
        if not confirmations:
            write("**Not confirmed yet.**", "")
        write("**The search**, whose scores also chose what is shown:", "")
        write(*(f"- {line}" for line in self.lines), "")
        for table in self.tables():
            title, caption = table.title, table.caption
            table.box, table.title, table.caption = box.MARKDOWN, None, None
            write("" if title == self.title else f"### {title}", "")
            console.print(table)
            write("", str(caption or ""), "")
        commands = (["confirm"], ["report"], ["export", "--to", self.name])
        study = ["--study", self.name]
        # A password is never shown; whoever needs one has it in the environment.
        if shown_url != DEFAULT_STORAGE and "***" not in shown_url:
            study += ["--storage", shown_url]
        words = (shlex.join(["transfer-search", x, *study, *to]) for x, *to in commands)
        write("### Go on", "", "```sh", *words, "```", "")
        write("This note is written anew as trials come in: what is added here does not stay.")
        return text.getvalue()


def _leaders(recipes: Sequence[FinishedRecipe], languages: frozenset[str]) -> Iterator[str]:
    """The best recipe of all, and the best without an intermediate task."""
    tuned = tuned_baseline(recipes, languages)
    if tuned is None:
        return
    best, baseline = leaders(recipes, languages)[0], tuned.gain.of_baseline()
    gain = best.gain.overall_gain(languages) - baseline.overall_gain(languages)
    yield (
        f"best recipe:    {in_points(gain)}, score {_percent(best.gain, languages)}, "
        f"{best.gain.seeds} seeds, trial {best.first.number}: {best.in_words}"
    )
    choices = ", ".join(
        f"{name} {value}"
        for name, value in tuned.first.params.items()
        if not name.startswith("intermediate.")
    )
    yield (
        f"tuned baseline: score {_percent(baseline, languages)}, {baseline.seeds} seeds, trial "
        f"{tuned.first.number}: {choices or 'the only one'}"
    )


def _percent(gain: TransferGain, languages: frozenset[str]) -> str:
    return f"{100 * gain.overall_score(languages):.1f}"


def trial_counts(study: Study) -> Mapping[str, int]:
    """State -> how many trials, without zeros."""
    return Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
