"""What people see of a study on a terminal, and as its note in optuna-dashboard."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from search.command_line.lines import print_lines
from search.command_line.markdown import fenced, md
from search.command_line.next_commands import folder_name, next_command
from search.command_line.output import plain_console
from search.command_line.words import console_for
from search.findings.answer import StudyAnswer, answer_of
from search.findings.answer_words import answer_lines, regret_line
from search.findings.baseline_words import baseline_lines
from search.findings.claims import check_claims, claim_lines
from search.findings.comparison import StudyComparison
from search.findings.confirmation import finished, looks_of
from search.findings.confirmed_words import confirmed_answer
from search.findings.missing_rows import missing_lines
from search.findings.planted_words import planted_line
from search.findings.stage_costs import study_cost
from search.findings.standings import judged_languages
from search.findings.study_status import trial_counts
from search.findings.test_splits import test_split_lines
from search.findings.verdict_words import confirmation_lines
from search.reporting.answer_tables import answer_tables
from search.reporting.comparison_tables import comparison_parts
from search.studies.stored_study import StoredStudy

# Columns of the tables where no terminal says how many there are.


def show_results(
    study: StoredStudy, next_steps: Sequence[str] = (), *, keeps_note: bool = True
) -> None:
    """Print what a study found.

    Args:
        study: The study.
        next_steps: Lines with the commands to go on with, which come last, after the answer.
        keeps_note: Whether it is also kept as the study's note in optuna-dashboard.
    """
    shown = _read(study)
    console = console_for()
    for table in shown.tables(console.width):
        console.print(table)
    if shown.answer is not None:
        _say(console, shown.caption())
    truth = planted_line(study)
    _say(console, *shown.notes, "", *shown.answer_lines, *([truth] if truth else ()))
    if next_steps:
        _say(console, "", *next_steps)
    if not keeps_note:
        return
    from optuna_dashboard import save_note  # not before: a study's first update needs none of it

    save_note(study.optuna_study, shown.in_markdown())


def write_note(study: StoredStudy) -> None:
    """Keep what was found up to now as the study's note in optuna-dashboard."""
    from optuna_dashboard import get_note, save_note

    note = _read(study).in_markdown()
    if note != get_note(study.optuna_study):
        save_note(study.optuna_study, note)


@dataclass(frozen=True)
class _Shown:
    """What is shown of a study, on a terminal and in its note."""

    study: StoredStudy
    answer: StudyAnswer | None
    notes: Sequence[str]
    answer_lines: Sequence[str]

    @property
    def title(self) -> str:
        """Study and question; figures of the pocket corpora are named so."""
        return f"{self.study.title}: {self.study.spec.question}"

    def tables(self, width: int) -> list[Table]:
        """A row for each target task and arm; none before there is an answer."""
        if self.answer is None:
            return []
        return answer_tables(self.answer, self.title, width)

    def caption(self) -> str:
        """What the table is of, and what its columns say."""
        study = self.study
        counts = trial_counts(study.optuna_study).items()
        direct = sum(len(recipe.trials) for recipe in study.direct)
        trials = ", ".join(f"{number} {state}" for state, number in counts)
        return (
            f"{direct} direct training{'s' * (direct != 1)}; trials: {trials}; "
            f"selected on {study.spec.selection}. "
            f"Gain: points over the best direct training that the search model expects of the "
            f"recommended recipe; itself: over the same target stage alone."
        )

    def in_markdown(self) -> str:
        """The note: the answer first, then tables, what it rests on, and how to go on."""
        text = io.StringIO()
        # Markdown has a row per line, however long.
        console = plain_console(file=text, width=1000)

        def write(*lines: str) -> None:
            _say(console, *lines)

        write(f"## {md(self.title)}", "")
        looks = looks_of(self.study)
        if done := finished(looks):
            answer = confirmed_answer(*done[-1]).splitlines()
            write(*(part for line in answer for part in (f"**{md(line)}**", "")))
        for head, *verdicts in map(confirmation_lines, reversed(looks)):
            write(f"{md(head[0].upper() + head[1:])}:", "")
            # What is said of a recipe stands below it.
            depth = ("  " * line.startswith("    ") for line in verdicts)
            write(*(f"{x}- {md(line)}" for x, line in zip(depth, verdicts, strict=True)), "")
        if looks:
            write(*(f"- {md(line)}" for line in test_split_lines(self.study)), "")
            write("**The search**, whose scores also chose what is shown:", "")
        else:
            write("**Not confirmed yet.** By the search, whose scores also chose this:", "")
        write(*(f"- {md(line)}" for line in self.answer_lines), "")
        for table in self.tables(console.width):
            table.box, table.title, table.pad_edge = box.MARKDOWN, None, True
            console.print(table)
            write("", md(self.caption()), "")
        write("### What it rests on", "", *(f"- {md(line)}" for line in self.notes), "")
        commands = (("confirm",), ("report",), ("export", "--to", folder_name(self.study.name)))
        words = (next_command(name, self.study.address, *more) for name, *more in commands)
        write("### Go on", "", fenced("\n".join(words), "sh"), "")
        write("This note is written anew as trials come in: what is added here does not stay.")
        return text.getvalue()


def show_comparison(comparison: StudyComparison) -> None:
    """Print two studies side by side."""
    console = console_for()
    for part in comparison_parts(comparison):
        if isinstance(part, str):
            _say(console, part)
        else:
            console.print(part)


def _read(study: StoredStudy) -> _Shown:
    answer = answer_of(study)
    recipes = [*study.direct, *study.recipes]
    claims = check_claims(study.spec, recipes, judged_languages(study.spec, study.catalogue))
    notes = (
        *missing_lines(study.name, study.storage),
        *(baseline_lines(study.baseline) if study.baseline else ()),
        *study.optuna_study.user_attrs.get("unlike_arms", "").splitlines(),
        study_cost(study.ledger, study.name).in_words(),
        *claim_lines(claims),
        *([regret_line(answer)] if answer else ()),
    )
    return _Shown(study, answer, notes, answer_lines(study, answer))


def _say(console: Console, *lines: str) -> None:
    print_lines(console, *lines)
