"""`python -m search.compare`: two studies of one storage side by side."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any, cast

from search.command_line.options import add_storage, fail_in_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from search.findings.judging import VerdictRow
    from search.findings.recommendation import Evidence
    from search.studies.stored_study import StoredStudy

EPILOG = """\
Gains are percentage points over each study's own tuned baseline. They are those of test splits
where both studies are confirmed, else those that the searches saw.
"""
WIDTH = 110


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.compare", description=__doc__, epilog=EPILOG
    )
    options.add_argument("studies", nargs=2, metavar="STUDY", help="a study's name")
    options.add_argument("--json", action="store_true", help="print it for machines")
    add_storage(options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        import optuna

        from search.studies.stored_study import open_stored_study
        from spaces.errors import SpecError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        first, second = (open_stored_study(options.storage, name) for name in options.studies)
        if first.name == second.name:
            raise SpecError(f"compare: expected two studies, found {first.name!r} twice")
        record = compare_studies(first, second)
        if options.json:
            print(json.dumps(record, indent=2, ensure_ascii=False))
        else:
            _show(record)
    return 0


def compare_studies(first: StoredStudy, second: StoredStudy) -> dict[str, Any]:
    """Two studies side by side, in JSON's types.

    Returns:
        `warnings`: why they cannot be compared, or only in part; `differences`: field ->
        its two values; `arms`: per arm what either found, on validation splits; `best`: their
        best recipes, with the `split` that the gains are of; `languages`: the best recipes' gains
        in each target task and language that both have, and `difference`, second less first;
        `cost`: of either. Pairs are in the order given. Gains are percentage points.

    Raises:
        StorageError: A study has no complete trial.
    """
    from search.findings.recommendation import best_confirmed, best_of_search

    both = first, second
    confirmed = [best_confirmed(results) for results in both]
    best: list[Evidence] = [found for found in confirmed if found is not None]
    warnings = _warnings(first, second)
    if len(best) == 1:
        warnings.append("only one of them is confirmed, so both gains are those of the search")
    if len(best) < 2:
        best = [best_of_search(results) for results in both]
    return {
        "studies": [
            {"name": results.name, "question": results.spec.question, "pocket": results.is_pocket}
            for results in both
        ],
        "warnings": warnings,
        "differences": _differences(*map(_defining, both)),
        "arms": _arms(both),
        "best": [_best(*pair) for pair in zip(both, best, strict=True)],
        "languages": _languages(*best),
        "cost": [_cost(results) for results in both],
    }


def _warnings(first: StoredStudy, second: StoredStudy) -> list[str]:
    found = []
    if first.is_pocket != second.is_pocket:
        found.append("one is of the pocket corpora, the other of real ones")
    mine, theirs = (set(results.spec.target.tasks) for results in (first, second))
    if mine != theirs:
        found.append(
            f"their target tasks differ ({', '.join(sorted(mine))}; "
            f"{', '.join(sorted(theirs))}), so that gains of all together do not compare"
        )
    for name in sorted(mine & theirs):
        metrics = [str(results.catalogue[name].metric) for results in (first, second)]
        if metrics[0] != metrics[1]:
            found.append(f"{name} is scored by {metrics[0]} and by {metrics[1]}")
    corpora = [results.definition.corpora for results in (first, second)]
    shared = corpora[0].keys() & corpora[1].keys()
    if others := sorted(name for name in shared if corpora[0][name] != corpora[1][name]):
        have = "split has" if len(others) == 1 else "splits have"
        more = ", ..." * (len(others) > 3)
        found.append(f"{len(others)} {have} other content ({', '.join(others[:3])}{more})")
    if mine & theirs and not first.languages & second.languages:
        found.append("they have no language in common that they select on")
    return found


def _defining(results: StoredStudy) -> dict[str, Any]:
    """Dotted names of what defines a study, as far as people chose it."""
    definition = results.definition
    fields = _flat(definition.spec)
    fields["backbone"] = list(results.spec.backbone)
    fields["encoders"] = sorted(key[:8] for key in definition.backbones.values())
    fields["data"] = definition.source
    fields["precision"] = definition.precision
    return fields


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {
        name: [first.get(name), second.get(name)]
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    }


def _arms(both: Sequence[StoredStudy]) -> dict[str, list[dict[str, Any] | None]]:
    """Arm -> what either study found; None where it has not the arm."""
    from search.reporting.terminal import summarize_arms
    from spaces.studies import NO_INTERMEDIATE

    found = []
    for results in both:
        arms = summarize_arms(results.recipes, results.spec.arms, results.languages)
        found.append(
            {
                arm.arm: {
                    "recipes": arm.recipes,
                    "tuned_gain": None if math.isnan(arm.tuned_gain) else arm.tuned_gain,
                    "seeds": arm.score.seeds if arm.best else 0,
                    "trial": arm.best.first.number if arm.best else None,
                    "best": (arm.best.task if arm.best and arm.arm != NO_INTERMEDIATE else ""),
                }
                for arm in arms
            }
        )
    names = dict.fromkeys(name for arms in found for name in arms)
    return {name: [arms.get(name) for arms in found] for name in names}


def _best(results: StoredStudy, evidence: Evidence) -> dict[str, Any]:
    recipe = next(x for x in results.recipes if x.first.number == evidence.trial)
    return {
        "trial": evidence.trial,
        "recipe": recipe.in_words,
        "split": evidence.split,
        "confirmed": evidence.confirmation is not None,
        **_gain(evidence.rows[0], confirmed=evidence.confirmation is not None),
    }


def _gain(row: VerdictRow, *, confirmed: bool) -> dict[str, Any]:
    names = ("gain", "low", "high", "seeds", "examples", "score", "against")
    found: dict[str, Any] = {name: value for name, value in row.items() if name in names}
    # A verdict on what a recipe was chosen by says nothing.
    return found | {"verdict": row["verdict"] if confirmed else None}


def _languages(first: Evidence, second: Evidence) -> list[dict[str, Any]]:
    mine, theirs = (
        {(row["task"], row["language"]): row for row in found.rows if row["task"]}
        for found in (first, second)
    )
    return [
        {
            "task": task,
            "language": language,
            "gains": [
                _gain(row, confirmed=found.confirmation is not None)
                for row, found in ((mine[task, language], first), (theirs[task, language], second))
            ],
            "difference": theirs[task, language]["gain"] - mine[task, language]["gain"],
        }
        for task, language in mine
        if (task, language) in theirs
    ]


def _cost(results: StoredStudy) -> dict[str, float]:
    from search.cost import study_cost

    cost = study_cost(results.ledger, results.name)
    return {
        "complete_trials": cost.trials,
        "updates_trained": cost.trained.updates,
        "seconds_trained": cost.trained.seconds,
        "seconds_asked_for": cost.asked.seconds,
        "seconds_elsewhere": cost.spent_elsewhere.seconds,
    }


# --- for people


def _show(record: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    for letter, study in zip("AB", record["studies"], strict=True):
        pocket = " (pocket corpora)" if study["pocket"] else ""
        say(f"{letter}: {study['name']}{pocket}: {study['question']}")
    for warning in record["warnings"]:
        say(f"warning: {warning}")
    if record["differences"]:
        console.print(_differences_table(record["differences"]))
    else:
        say("what defines them is the same")
    console.print(_arms_table(record["arms"]))
    for letter, best in zip("AB", record["best"], strict=True):
        known = "confirmed on test splits" if best["confirmed"] else "not confirmed, validation"
        say(
            f"{letter} best: {_with_interval(best)} ({known}, {best['seeds']} seeds), "
            f"trial {best['trial']}: {best['recipe']}"
        )
    if record["languages"]:
        console.print(_languages_table(record["languages"]))
    else:
        say("they have no target task and language in common")
    console.print(_cost_table(record["cost"]))


def _differences_table(differences: Mapping[str, Sequence[Any]]) -> Table:
    from rich.markup import escape

    table = _table("What differs", "field", "A", "B")
    for name, values in differences.items():
        table.add_row(name, *(escape(_shown(value)) for value in values))
    return table


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)


def _arms_table(arms: Mapping[str, Sequence[Mapping[str, Any] | None]]) -> Table:
    from objectives.gains.transfer_gain import in_points

    columns = ("arm", "study", "recipes", "tuned gain", "seeds", "best recipe's intermediate task")
    table = _table("Tuned gains by arm, on validation splits", *columns)
    for name, found in arms.items():
        for letter, arm in zip("AB", found, strict=True):
            if arm is None:
                table.add_row(name, letter, "not an arm of it")
                continue
            gain = "" if arm["tuned_gain"] is None else in_points(arm["tuned_gain"])
            seeds = str(arm["seeds"] or "")
            table.add_row(name, letter, str(arm["recipes"]), gain, seeds, arm["best"] or "-")
    table.caption = "leaders were chosen by these gains, which are too high for them"
    return table


def _languages_table(languages: Sequence[Mapping[str, Any]]) -> Table:
    from rich.markup import escape

    from objectives.gains.transfer_gain import in_points

    columns = ("task", "language", "A examples", "A gain", "B examples", "B gain", "B less A")
    table = _table("Gains of the best recipes, each over its own tuned baseline", *columns)
    for row in languages:
        cells = []
        for found in row["gains"]:
            # Brackets are markup to rich, where they hold words.
            cells += [f"{found['examples']:,}", escape(_with_interval(found))]
        table.add_row(row["task"], row["language"], *cells, in_points(row["difference"]))
    table.caption = "95 % intervals, each by itself; none is known of the difference"
    return table


def _with_interval(found: Mapping[str, Any]) -> str:
    from search.findings.judging import with_interval

    return f"{with_interval(cast('VerdictRow', found))} {found['verdict'] or ''}".rstrip()


def _cost_table(costs: Sequence[Mapping[str, float]]) -> Table:
    table = _table("Cost", "", "A", "B")
    for name in costs[0]:
        table.add_row(name.replace("_", " "), *(f"{cost[name]:,.0f}" for cost in costs))
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column)
    return table


if __name__ == "__main__":
    sys.exit(main())
