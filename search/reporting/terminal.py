"""What people see of a study on a terminal, and as its note in optuna-dashboard."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna_dashboard import get_note, save_note
from rich import box
from rich.console import Console
from rich.table import Table

from objectives.gains.transfer_gain import TransferGain, in_points
from search.command_line.next_commands import StudyAddress, next_command
from search.findings.arms import ArmSummary, summarize_arms, trial_counts
from search.findings.claims import check_claims, claim_lines
from search.findings.confirmation import Look, finished, looks_of
from search.findings.selection import Standings, standings_of
from search.findings.stage_costs import StudyCost, study_cost
from search.findings.verdict_words import confirmation_lines
from search.reporting.tables import (
    arms_table,
    cells_table,
    cost_table,
    languages_table,
    tasks_table,
)
from search.studies.stored_study import StoredStudy
from spaces.studies import StudySpec

if TYPE_CHECKING:  # it trains, and so needs torch; what only shows a study does without
    from search.findings.confirming import ConfirmedStudy

# Columns of the tables where no terminal says how many there are.
WIDTH = 110


def show_results(results: StoredStudy) -> None:
    """Print what a study found, and keep it as the study's note in optuna-dashboard."""
    shown = _read(results)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for table in shown.tables():
        console.print(table)
    _say(console, *shown.lines)
    save_note(results.study, shown.in_markdown(looks_of(results)))


def write_note(results: StoredStudy) -> None:
    """Keep what was found up to now as the study's note in optuna-dashboard."""
    note = _read(results).in_markdown(looks_of(results))
    if note != get_note(results.study):
        save_note(results.study, note)


def show_confirmation(confirmed: ConfirmedStudy) -> None:
    """Print the verdicts of a finished confirmation."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    pocket = " (pocket corpora)" if confirmed.is_pocket else ""
    title = f"{confirmed.name}{pocket}: gains over the tuned baseline on test splits"
    ((look, result),) = finished([confirmed.look])
    console.print(cells_table(result.verdicts, look.plan.names, title))
    _say(console, *confirmation_lines(look))


def show_cost(name: str, cost: StudyCost) -> None:
    """Print what a study asked for, trained and saved.

    Args:
        name: Of the study.
        cost: Of the study.
    """
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(cost_table(cost, f"Cost of {name}"))


@dataclass(frozen=True)
class _Shown:
    """What is shown of a study, on a terminal and in its note.

    Attributes:
        name: Name of the study in its storage.
        spec: The study.
        address: How commands reach it.
        data: Where its corpora come from.
        counts: Its trials, in words.
        standings: Of its search.
        summaries: Of its arms.
        lines: What the tables leave to say.
    """

    name: str
    spec: StudySpec
    address: StudyAddress
    data: str
    counts: str
    standings: Standings
    summaries: Sequence[ArmSummary]
    lines: Sequence[str]

    @property
    def title(self) -> str:
        """Study and question; figures of the pocket corpora are named so."""
        where = " (pocket corpora)" if self.data == "pocket corpora" else ""
        return f"{self.name}{where}: {self.spec.question}"

    def tables(self) -> list[Table]:
        """By arm, by target task where there are several, and by language."""
        languages = self.standings.judged_on
        arms = arms_table(self.summaries, languages, self.title)
        arms.caption = (
            f"{self.data}; {self.counts}. Best recipes by {self.spec.selection}; gains are "
            f"percentage points: tuned, over the best recipe without an intermediate task; "
            f"paired, over the same target stage without it. Scores are percent."
        )
        by_task = [tasks_table(self.summaries, languages)]
        if len(self.spec.target.tasks) < 2:
            by_task = []
        return [arms, *by_task, languages_table(self.summaries)]

    def in_markdown(self, looks: Sequence[Look]) -> str:
        """The note: verdicts first, then tables, then how to go on."""
        text = io.StringIO()
        # Markdown has a row per line, however long.
        console = Console(file=text, width=1000)

        def write(*lines: str) -> None:
            _say(console, *lines)

        write(f"## {self.title}", "")
        for head, *verdicts in map(confirmation_lines, looks):
            write(
                f"**{head[0].upper()}{head[1:]}**",
                "",
                *(f"- {line.strip()}" for line in verdicts),
                "",
            )
        if not looks:
            write("**Not confirmed yet.**", "")
        write("**The search**, whose scores also chose what is shown:", "")
        write(*(f"- {line}" for line in self.lines), "")
        for table in self.tables():
            title, caption = table.title, table.caption
            table.box, table.title, table.caption = box.MARKDOWN, None, None
            write("" if title == self.title else f"### {title}", "")
            console.print(table)
            write("", str(caption or ""), "")
        commands = (("confirm",), ("report",), ("export", "--to", self.name))
        words = (next_command(name, self.address, *more) for name, *more in commands)
        write("### Go on", "", "```sh", *words, "```", "")
        write("This note is written anew as trials come in: what is added here does not stay.")
        return text.getvalue()


def _read(results: StoredStudy) -> _Shown:
    study, spec, standings = results.study, results.spec, standings_of(results)
    counts = (f"{number} {state}" for state, number in trial_counts(study).items())
    claims = check_claims(spec, results.recipes, standings.judged_on)
    return _Shown(
        name=results.name,
        spec=spec,
        address=results.address,
        data="pocket corpora" if results.is_pocket else study.user_attrs["data"],
        counts=", ".join(counts),
        standings=standings,
        summaries=summarize_arms(standings, spec.arms),
        lines=(
            *_leader_lines(standings),
            *study.user_attrs.get("unlike_arms", "").splitlines(),
            study_cost(results.ledger, results.name).in_words(),
            *claim_lines(claims),
        ),
    )


def _leader_lines(standings: Standings) -> Iterator[str]:
    """The leading recipe of all, and the tuned baseline."""
    tuned, languages = standings.baseline, standings.judged_on
    if tuned is None:
        return
    best = standings.leaders[0]
    gain = best.gain.overall_gain(languages) - tuned.gain.overall_gain(languages)
    yield (
        f"best recipe:    {in_points(gain)}, score {_percent(best.gain, languages)}, "
        f"{best.gain.seeds} seeds, trial {best.first.number}: {best.in_words}"
    )
    choices = ", ".join(f"{name} {value}" for name, value in tuned.choices.items())
    yield (
        f"tuned baseline: score {_percent(tuned.gain, languages)}, {tuned.gain.seeds} seeds, "
        f"trial {tuned.first.number}: {choices or 'the only one'}"
    )


def _percent(gain: TransferGain, languages: frozenset[str]) -> str:
    return f"{100 * gain.overall_score(languages):.1f}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
