"""The answer of a study as a table."""

from __future__ import annotations

import pandas as pd

from search.findings.answer import ArmFinding, StudyAnswer
from search.findings.answer_words import verdict_word

COLUMNS = (
    *("target", "arm", "gain", "low", "high", "probability_gain", "probability_best"),
    *("itself", "trial", "intermediate", "recipe", "runs", "tried", "tasks", "so_far"),
)


def arm_table(answer: StudyAnswer | None) -> pd.DataFrame:
    """One row per target task and arm, of the recipe that is recommended there.

    The rows whose `target` is empty are over all target tasks. `gain`, its 95 % interval from
    `low` to `high` and `itself` (over the same target stage alone) are percentage points; `tried`
    of the arm's `tasks` were run. An arm of which no recipe is finished has no numbers.

    Args:
        answer: What the search found; None: the table is empty.
    """
    parts = {} if answer is None else {**answer.by_task, "": answer.arms}
    rows = [
        (target, arm, *_numbers(finding))
        for target, findings in parts.items()
        for arm, finding in findings.items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"trial": "Int64", "runs": "Int64"})


def _numbers(finding: ArmFinding) -> tuple[object, ...]:
    known, recipe = finding.known, finding.recipe
    if known is None or recipe is None:
        nothing = (None,) * 9
        return (*nothing[:7], "", "", 0, 0, finding.tasks, verdict_word(None))
    return (
        *(known.gain, *known.interval, known.probability_gain, known.probability_best),
        *(known.itself, recipe.first.number, recipe.task, recipe.in_words),
        *(known.runs, known.tried, finding.tasks, verdict_word(known)),
    )
