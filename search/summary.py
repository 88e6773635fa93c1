"""What a study found so far: one row per arm, from Optuna's trials and the ledger."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import save_note
from rich.console import Console
from rich.table import Table

from objectives.corpora import DataSource, SourceKind
from objectives.gain import TransferGain
from spaces.catalogue import Catalogue
from spaces.studies import NO_INTERMEDIATE, StudySpec
from storage.ledger import Ledger


@dataclass(frozen=True)
class FinishedTrial:
    """A complete trial and its paired scores."""

    trial: FrozenTrial
    gain: TransferGain

    @property
    def arm(self) -> str:
        """none, general, biomedical or legal."""
        return str(self.trial.params["intermediate.domain"])

    @property
    def task(self) -> str:
        """The intermediate task; empty in the arm "none"."""
        return str(self.trial.params.get(f"intermediate.task.{self.arm}", ""))


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


def finished_trials(study: Study, ledger: Ledger) -> list[FinishedTrial]:
    """The complete trials of a study, in order."""
    pairs = ledger.pairs(study.study_name)
    return [
        FinishedTrial(trial, TransferGain(tuple(pairs[trial.number])))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.number in pairs
    ]


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
    baselines = [item.gain.mean_baseline(languages) for item in finished]
    summaries = []
    for arm in arms:
        mine = [item for item in finished if item.arm == arm]
        scores = [item.gain.mean_score(languages) for item in mine]
        if arm == NO_INTERMEDIATE:
            scores = baselines
        best_score = max(scores, default=float("nan"))
        gains = [item.gain.mean_gain(languages) for item in mine]
        summaries.append(
            ArmSummary(
                arm=arm,
                trials=len(mine),
                best=max(mine, key=lambda item: item.gain.mean_gain(languages), default=None),
                mean_gain=fmean(gains) if gains else float("nan"),
                best_score=best_score,
                tuned_gain=100 * (best_score - max(baselines)) if scores else float("nan"),
            )
        )
    return summaries


def arms_table(summaries: Sequence[ArmSummary], languages: frozenset[str], title: str) -> Table:
    """The end table: gains in percentage points, scores in percent."""
    best = [summary.best for summary in summaries if summary.best]
    columns = sorted({name for item in best for name in item.gain.by_language()})
    several = len({task for task, _ in columns}) > 1
    table = Table(title=title, title_justify="left")
    table.add_column("arm")
    for header in ("trials", "best gain", "mean gain", "best score", "tuned gain"):
        table.add_column(header, justify="right")
    table.add_column("best intermediate task")
    for task, language in columns:
        table.add_column(f"{task} {language}" if several else language, justify="right")
    for summary in summaries:
        item = summary.best
        if item is None:
            table.add_row(summary.arm, "0")
            continue
        gains = item.gain.by_language()
        table.add_row(
            summary.arm,
            str(summary.trials),
            f"{item.gain.mean_gain(languages):+.1f}",
            f"{summary.mean_gain:+.1f}",
            f"{100 * summary.best_score:.1f}",
            f"{summary.tuned_gain:+.1f}",
            item.task or "-",
            *(f"{gains[name]:+.1f}" for name in columns),
        )
    if best:
        # A gain over seven sentences must not look like one over seven hundred.
        sizes = {(p.score.task, p.score.language): p.score.examples for p in best[0].gain.pairs}
        table.add_section()
        table.add_row("examples", *[""] * 6, *(f"n={sizes[name]}" for name in columns))
    return table


def show_result(
    study: Study, ledger: Ledger, spec: StudySpec, catalogue: Catalogue, source: DataSource
) -> None:
    """Print the table of arms, and keep it as the study's note in optuna-dashboard."""
    languages = spec.selection_languages(catalogue)
    finished = finished_trials(study, ledger)
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
    table.caption_justify = "left"
    text = io.StringIO()
    for console in (
        Console(width=None if sys.stdout.isatty() else 160),
        Console(file=text, width=160),
    ):
        console.print(table)
        for line in _leaders(finished, languages):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    save_note(study, f"```text\n{text.getvalue()}\n```")


def _leaders(finished: Sequence[FinishedTrial], languages: frozenset[str]) -> Iterator[str]:
    """The recipes to look at: they differ where the baseline of the first was badly tuned."""
    if not finished:
        return
    best = max(finished, key=lambda item: item.gain.mean_gain(languages))
    gain = best.gain.mean_gain(languages)
    yield f"highest gain:  {gain:+.1f}, trial {best.trial.number}: {_in_words(best)}"
    best = max(finished, key=lambda item: item.gain.mean_score(languages))
    score = 100 * best.gain.mean_score(languages)
    yield f"highest score: {score:.1f}, trial {best.trial.number}: {_in_words(best)}"


def _in_words(item: FinishedTrial) -> str:
    """A trial's choices, as in `pocket_ner_parties, intermediate.epochs 4, ...`."""
    rest = (
        f"{name} {value}"
        for name, value in item.trial.params.items()
        if not name.startswith(("intermediate.domain", "intermediate.task"))
    )
    return ", ".join((item.task or NO_INTERMEDIATE, *rest))


def trial_counts(study: Study) -> Mapping[str, int]:
    """State -> how many trials, without zeros."""
    return Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
