"""What of a study goes into a paper: its methods in a paragraph, a table, and what to cite.

All is written from what the study keeps, so that it says what was done and not what was planned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from objectives.gains.transfer_gain import in_points
from search.command_line.words import number_of
from search.findings.confirmation import ConfirmationResult, Look, finished, looks_of
from search.findings.landscape import Landscape
from search.findings.study_status import trial_counts
from search.findings.verdict_words import cell_rows, interval_in_words, looks_in_words
from search.reporting.landscape_sections import Section
from search.studies.stored_study import StoredStudy

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def paper_section(study: StoredStudy, landscape: Landscape) -> Section:
    """Texts to copy; empty before there is an answer."""
    if landscape.answer is None:
        return Section("paper", "For a paper", [])
    done = finished(looks_of(study))
    last = done[-1] if done else None
    about = "the confirmation" if last else "the search, whose gains are not confirmed"
    return Section(
        "paper",
        "For a paper",
        [
            f"Of {about}. Each table of this page can be copied as LaTeX, each figure saved as "
            f"SVG; tables want the package booktabs."
        ],
        texts=(
            ("Methods", methods(study, last)),
            ("Table in LaTeX", _table(study, landscape, last)),
            ("BibTeX", _bibtex(study)),
        ),
    )


def methods(study: StoredStudy, last: tuple[Look, ConfirmationResult] | None) -> str:
    """How the study was made, in a paragraph."""
    spec, baseline = study.spec, study.baseline
    targets = "; ".join(
        f"{task.name} ({', '.join(spec.target_languages(task))}; {task.metric})"
        for task in spec.target_tasks(study.catalogue)
    )
    trials = sum(trial_counts(study.optuna_study).values())
    encoder = study.optuna_study.user_attrs.get("backbone", "")
    corpora = " All corpora are generated text (pocket corpora)." if study.is_pocket else ""
    words = [
        f"We searched over {len(spec.intermediate.tasks)} intermediate tasks in "
        f"{len(spec.arms) - 1} arms ({', '.join(x for x in spec.arms if x != 'none')}) before "
        f"fine-tuning on {targets}, with source language {spec.source_language}"
        f"{f' and encoder {encoder}' if encoder else ''}.{corpora}",
        f"Direct training was tuned first: "
        f"{number_of(baseline.trials if baseline else 0, 'run')}, the best of each target task "
        f"with {number_of(spec.baseline_seeds, 'seed')}; gains are percentage points over "
        f"it, the mean over languages.",
        f"The search made {trials} trials with sampler {spec.sampler}, each one recipe with one "
        f"seed, selected on {spec.selection} scores; recipes are recommended by the posterior "
        f"mean of a model of all runs.",
    ]
    if last is None:
        words.append("No recipe was confirmed on test splits.")
    else:
        look, result = last
        plan = look.plan
        words.append(
            f"{len(plan.recipes)} recipes chosen before any test split was read were then trained "
            f"with up to {result.seeds} fresh seeds and held against the best direct training on "
            f"test splits, with looks planned after {looks_in_words(plan.looks)}. "
            f"Verdicts and intervals are corrected for all looks and for all gains judged "
            f"together (Holm), at a total error of {100 * plan.alpha:g} %; gains within "
            f"{plan.margin:g} points of 0 count as equivalent."
        )
        if look.number > 1:
            words.append(f"This was look {look.number} at the same test splits.")
    version = study.optuna_study.user_attrs.get("transfer_search_version", "")
    return " ".join([*words, f"Software: transfer-search {version}, Optuna."])


def _table(
    study: StoredStudy, landscape: Landscape, last: tuple[Look, ConfirmationResult] | None
) -> str:
    if last is not None:
        look, result = last
        names = {x.trial: f"{x.name} ({x.arm})" for x in look.plan.recipes}
        rows = cell_rows(result.verdicts, list(names), look.plan.margin)
        head = ["target task", "language", "examples", *names.values()]
        caption = (
            f"Gain over the best direct training on test splits, percentage points, up to "
            f"{result.seeds} seeds; intervals are corrected for looks and family."
        )
        return _tabular(head, rows, "llr" + "r" * len(names), _pocket(study, caption))
    assert landscape.answer is not None
    rows = [
        [task, arm, finding.recipe.task, in_points(known.gain), interval_in_words(*known.interval),
         in_points(known.itself), f"{known.tried}/{finding.tasks}"]
        for task, findings in landscape.answer.by_task.items()
        for arm, finding in findings.items()
        if (known := finding.known) is not None and finding.recipe is not None
    ]  # fmt: skip
    head = ["target task", "arm", "intermediate task", "gain", "95 %", "itself", "tried"]
    caption = (
        f"Gain over the best direct training by the search model, percentage points "
        f"({study.spec.selection}; not confirmed on test splits)."
    )
    return _tabular(head, rows, "lllrrrr", _pocket(study, caption))


def _pocket(study: StoredStudy, caption: str) -> str:
    return f"{caption} Pocket corpora: generated text." if study.is_pocket else caption


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str, caption: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(in_tex, cells)) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{in_tex(caption)}}}",
            rf"\begin{{tabular}}{{{sides}}}",
            r"\toprule",
            line(head),
            r"\midrule",
            *map(line, rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def in_tex(text: str) -> str:
    """Text that means nothing but itself in LaTeX."""
    return "".join(_TEX.get(x, x) for x in text)


def _bibtex(study: StoredStudy) -> str:
    about = study.optuna_study.user_attrs
    version = about.get("transfer_search_version", "")
    trials = study.optuna_study.get_trials(deepcopy=False)
    years = [x.datetime_start.year for x in trials if x.datetime_start is not None]
    key = re.sub(r"[^a-z0-9]+", "-", study.name.lower()).strip("-") or "study"
    year = f"  year = {{{max(years)}}},\n" if years else ""
    return f"""\
@misc{{{key},
  title = {{{in_tex(study.title)}: {in_tex(study.spec.question)}}},
{year}  note = {{Study of transfer-search {in_tex(version)}, {len(trials)} trials}},
}}

@inproceedings{{optuna,
  title = {{Optuna: A Next-generation Hyperparameter Optimization Framework}},
  author = {{Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and
    Koyama, Masanori}},
  booktitle = {{Proceedings of the 25th {{ACM}} {{SIGKDD}} International Conference on Knowledge
    Discovery and Data Mining}},
  pages = {{2623--2631}},
  year = {{2019}},
}}"""
