"""What people see of a study on a terminal, and as its note in optuna-dashboard."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from objectives.gains.transfer_gain import TransferGain, in_points
from search.command_line.next_commands import next_command
from search.command_line.words import console_for
from search.findings.arms import ArmSummary, summarize_arms, trial_counts
from search.findings.claims import check_claims, claim_lines
from search.findings.comparison import StudyComparison
from search.findings.confirmation import Look, finished, looks_of
from search.findings.selection import Standings, standings_of
from search.findings.stage_costs import study_cost
from search.findings.verdict_words import confirmation_lines
from search.reporting.comparison_tables import comparison_parts
from search.reporting.tables import (
    arms_table,
    cells_table,
    languages_table,
    tasks_table,
)
from search.studies.stored_study import StoredStudy

# Columns of the tables where no terminal says how many there are.
WIDTH = 110


def show_results(study: StoredStudy, next_steps: Sequence[str] = ()) -> None:
    """Print what a study found, and keep it as the study's note in optuna-dashboard.

    Args:
        study: The study.
        next_steps: Lines that follow, with the commands to go on with.
    """
    shown = _read(study)
    console = console_for(WIDTH)
    for table in shown.tables():
        console.print(table)
    _say(console, *shown.lines, *next_steps)
    from optuna_dashboard import save_note  # not before: a study's first update needs none of it

    save_note(study.optuna_study, shown.in_markdown())


def write_note(study: StoredStudy) -> None:
    """Keep what was found up to now as the study's note in optuna-dashboard."""
    from optuna_dashboard import get_note, save_note

    note = _read(study).in_markdown()
    if note != get_note(study.optuna_study):
        save_note(study.optuna_study, note)


def show_confirmation(study: StoredStudy, look: Look) -> None:
    """Print the verdicts of a finished confirmation."""
    console = console_for(140)
    title = f"{study.title}: gains over the tuned baseline on test splits"
    ((look, result),) = finished([look])
    console.print(cells_table(result.verdicts, look.plan.names, title))
    _say(console, *confirmation_lines(look))


@dataclass(frozen=True)
class _Shown:
    """What is shown of a study, on a terminal and in its note."""

    study: StoredStudy
    standings: Standings
    summaries: Sequence[ArmSummary]
    lines: Sequence[str]

    @property
    def title(self) -> str:
        """Study and question; figures of the pocket corpora are named so."""
        return f"{self.study.title}: {self.study.spec.question}"

    def tables(self) -> list[Table]:
        """By arm, by target task where there are several, and by language."""
        study, languages = self.study, self.standings.judged_on
        data = "pocket corpora" if study.is_pocket else study.optuna_study.user_attrs["data"]
        counts = trial_counts(study.optuna_study).items()
        arms = arms_table(self.summaries, languages, self.title)
        arms.caption = (
            f"{data}; {', '.join(f'{number} {state}' for state, number in counts)}. Best recipes "
            f"by {study.spec.selection}; gains are percentage points: tuned, over the best recipe "
            f"without an intermediate task; paired, over the same target stage without it. Scores "
            f"are percent."
        )
        several = len(study.spec.target.tasks) > 1
        by_task = [tasks_table(self.summaries, languages)] if several else []
        return [arms, *by_task, languages_table(self.summaries)]

    def in_markdown(self) -> str:
        """The note: verdicts first, then tables, then how to go on."""
        text = io.StringIO()
        # Markdown has a row per line, however long.
        console = Console(file=text, width=1000)

        def write(*lines: str) -> None:
            _say(console, *lines)

        write(f"## {self.title}", "")
        looks = looks_of(self.study)
        for head, *verdicts in map(confirmation_lines, looks):
            write(f"**{head[0].upper()}{head[1:]}**", "")
            write(*(f"- {line.strip()}" for line in verdicts), "")
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
        commands = (("confirm",), ("report",), ("export", "--to", self.study.name))
        words = (next_command(name, self.study.address, *more) for name, *more in commands)
        write("### Go on", "", "```sh", *words, "```", "")
        write("This note is written anew as trials come in: what is added here does not stay.")
        return text.getvalue()


def show_comparison(comparison: StudyComparison) -> None:
    """Print two studies side by side."""
    console = console_for(WIDTH)
    for part in comparison_parts(comparison):
        if isinstance(part, str):
            _say(console, part)
        else:
            console.print(part)


def _read(study: StoredStudy) -> _Shown:
    standings = standings_of(study)
    claims = check_claims(study.spec, study.recipes, standings.judged_on)
    lines = (
        *_leader_lines(standings),
        *study.optuna_study.user_attrs.get("unlike_arms", "").splitlines(),
        study_cost(study.ledger, study.name).in_words(),
        *claim_lines(claims),
    )
    return _Shown(study, standings, summarize_arms(standings, study.spec.arms), lines)


def _leader_lines(standings: Standings) -> Iterator[str]:
    """The leading recipe of all, and the tuned baseline."""
    tuned, languages = standings.baseline, standings.judged_on
    if tuned is None:
        return
    if (best := standings.leader) is not None:
        gain = standings.against_baseline(best)
        known = "no seed in common with the tuned baseline"
        if gain is not None:
            points = in_points(gain.overall_gain(languages))
            known = f"{points}, score {_percent(gain, languages)}, {_seeds(gain)}"
        yield f"best recipe:    {known}, trial {best.first.number}: {best.in_words}"
    choices = "".join(f"{name} {value}, " for name, value in tuned.choices.items())
    yield (
        f"tuned baseline: score {_percent(tuned.gain, languages)}, {_seeds(tuned.gain)}, "
        f"trial {tuned.first.number}: {choices}{tuned.gain.settings_in_words()}"
    )


def _seeds(gain: TransferGain) -> str:
    return f"{gain.seeds} seed{'s' * (gain.seeds > 1)}"


def _percent(gain: TransferGain, languages: frozenset[str]) -> str:
    return f"{100 * gain.overall_score(languages):.1f}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
