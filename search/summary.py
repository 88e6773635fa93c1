"""What a study found so far: one row per arm, from Optuna's trials and the ledger."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from optuna.study import Study
from optuna_dashboard import save_note
from rich.console import Console
from rich.table import Table

from objectives.corpora import DataSource, SourceKind
from objectives.gain import in_points
from search.claims import check_claims, claim_lines
from search.cost import study_cost
from search.finished import FinishedTrial, finished_trials, highest_gain
from spaces.catalogue import Catalogue
from spaces.studies import NO_INTERMEDIATE, StudySpec
from storage.ledger import Ledger

# Columns of the tables where no terminal says how many there are: a file, the dashboard's note.
WIDTH = 110


@dataclass(frozen=True)
class ArmSummary:
    """One arm of a study.

    Attributes:
        arm: none, general, biomedical or legal.
        trials: Its complete trials.
        best: The one with the highest gain; None while there is none.
        mean_gain: Over its trials, percentage points.
        best_score: The highest mean score of any of its trials.
        tuned_gain: `best_score` minus the best score without any intermediate task, in
            percentage points: what the arm adds when both sides are tuned.
    """

    arm: str
    trials: int
    best: FinishedTrial | None
    mean_gain: float
    best_score: float
    tuned_gain: float


def summarize_arms(
    finished: Sequence[FinishedTrial], arms: Iterable[str], languages: frozenset[str]
) -> list[ArmSummary]:
    """One summary per arm, in the order given.

    Every trial has a baseline, which is a trial of the arm "none" with the same target stage;
    the best of them is the tuned baseline.

    Args:
        finished: From `finished_trials`.
        arms: Of the study.
        languages: Those that the study selects on.
    """
    baselines = [item.gain.overall_baseline(languages) for item in finished]
    summaries = []
    for arm in arms:
        mine = [item for item in finished if item.arm == arm]
        scores = [item.gain.overall_score(languages) for item in mine]
        if arm == NO_INTERMEDIATE:
            scores = baselines
        best_score = max(scores, default=float("nan"))
        gains = [item.gain.overall_gain(languages) for item in mine]
        summaries.append(
            ArmSummary(
                arm=arm,
                trials=len(mine),
                best=highest_gain(mine, languages),
                mean_gain=fmean(gains) if gains else float("nan"),
                best_score=best_score,
                tuned_gain=100 * (best_score - max(baselines)) if scores else float("nan"),
            )
        )
    return summaries


def arms_table(summaries: Sequence[ArmSummary], languages: frozenset[str], title: str) -> Table:
    """The arms: gains in percentage points, scores in percent."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("arm")
    for header in ("trials", "best gain", "mean gain", "best score", "tuned gain"):
        table.add_column(header, justify="right")
    table.add_column("intermediate task of the best gain")
    for summary in summaries:
        item = summary.best
        if item is None:
            table.add_row(summary.arm, "0")
            continue
        table.add_row(
            summary.arm,
            str(summary.trials),
            in_points(item.gain.overall_gain(languages)),
            in_points(summary.mean_gain),
            f"{100 * summary.best_score:.1f}",
            in_points(summary.tuned_gain),
            item.task or "-",
        )
    return table


def tasks_table(summaries: Sequence[ArmSummary], languages: frozenset[str]) -> Table:
    """The gains of each arm's best trial by target task, the mean over its languages."""
    best = [summary.best for summary in summaries if summary.best]
    table = Table(title="By target task", title_justify="left")
    table.add_column("target task")
    for item in best:
        table.add_column(item.arm, justify="right")
    gains = [item.gain.by_task(languages) for item in best]
    for task in gains[0] if gains else ():
        table.add_row(task, *(in_points(gain[task]) for gain in gains))
    return table


def languages_table(summaries: Sequence[ArmSummary]) -> Table:
    """The gains of each arm's best trial by language, and over how many examples."""
    best = [summary.best for summary in summaries if summary.best]
    table = Table(title="Gains of each arm's best trial", title_justify="left")
    table.add_column("target task")
    table.add_column("language")
    table.add_column("examples", justify="right")
    for item in best:
        table.add_column(item.arm, justify="right")
    gains = [item.gain.by_language() for item in best]
    # A gain over seven sentences must not look like one over seven hundred.
    pairs = best[0].gain.pairs if best else ()
    sizes = {(pair.score.task, pair.score.language): pair.score.examples for pair in pairs}
    for (task, language), examples in sizes.items():
        points = (in_points(gain[task, language]) for gain in gains)
        table.add_row(task, language, str(examples), *points)
    return table


def show_result(
    study: Study, ledger: Ledger, spec: StudySpec, catalogue: Catalogue, source: DataSource
) -> None:
    """Print what was found, and keep it as the study's note in optuna-dashboard."""
    languages = spec.selection_languages(catalogue)
    finished = finished_trials(study, ledger, spec.target.aggregate)
    summaries = summarize_arms(finished, spec.arms, languages)
    data = "pocket corpora" if source.kind is SourceKind.POCKET else str(source)
    counts = ", ".join(f"{number} {state}" for state, number in trial_counts(study).items())
    where = " (pocket corpora)" if source.kind is SourceKind.POCKET else ""
    title = f"{study.study_name}{where}: {spec.question}"
    table = arms_table(summaries, languages, title)
    table.caption = (
        f"{data}; {counts}. Gains are percentage points on {spec.selection}, "
        f"{len(spec.all_seeds)} seed(s); scores are percent."
    )
    text = io.StringIO()
    for console in (
        Console(width=None if sys.stdout.isatty() else WIDTH),
        Console(file=text, width=WIDTH),
    ):
        console.print(table)
        if len(spec.target.tasks) > 1:
            console.print(tasks_table(summaries, languages))
        console.print(languages_table(summaries))
        for line in (
            *_leaders(finished, languages),
            *study.user_attrs.get("unlike_arms", "").splitlines(),
            study_cost(ledger, study.study_name).in_words(),
            *claim_lines(check_claims(spec, finished, languages)),
        ):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    save_note(study, f"```text\n{text.getvalue()}\n```")


def _leaders(finished: Sequence[FinishedTrial], languages: frozenset[str]) -> Iterator[str]:
    """The recipes to look at: they differ where the baseline of the first was badly tuned."""
    best = highest_gain(finished, languages)
    if best is None:
        return
    gain = best.gain.overall_gain(languages)
    yield f"highest gain:  {in_points(gain)}, trial {best.trial.number}: {best.in_words}"
    best = max(finished, key=lambda item: item.gain.overall_score(languages))
    score = 100 * best.gain.overall_score(languages)
    yield f"highest score: {score:.1f}, trial {best.trial.number}: {best.in_words}"


def trial_counts(study: Study) -> Mapping[str, int]:
    """State -> how many trials, without zeros."""
    return Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
