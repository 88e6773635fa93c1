"""The answer of a confirmation in words: the same on the page and in optuna-dashboard's note."""

from __future__ import annotations

from collections.abc import Mapping

from objectives.gains.rules import Verdict
from objectives.gains.transfer_gain import in_points
from search.findings.confirmation import ConfirmationResult, Look
from search.findings.verdict_words import with_interval
from search.findings.verdicts import JudgedGain


def confirmed_answer(look: Look, result: ConfirmationResult) -> str:
    """By kind of task, as a mean over some that gain and some that lose answers for neither."""
    verdicts = result.verdicts
    overall = _judged(look, {x.trial: x.gain for x in verdicts.recipes})
    if not verdicts.tasks:
        return overall
    gains: dict[str, dict[int, JudgedGain]] = {}
    for x in verdicts.tasks:
        gains.setdefault(x.task, {})[x.trial] = x.gain
    lines = [f"For {task}: {_lower(_judged(look, mine))}" for task, mine in gains.items()]
    return "\n".join([*lines, f"Over all target tasks: {_lower(overall)}"])


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _judged(look: Look, gains: Mapping[int, JudgedGain]) -> str:
    """What follows from the verdicts on recipes, by the number of each one's first trial."""
    names = look.plan.names
    by_verdict = {
        verdict: sorted(
            ((trial, x) for trial, x in gains.items() if x.verdict is verdict),
            key=lambda x: -x[1].points,
        )
        for verdict in Verdict
    }
    helping, hurting = by_verdict[Verdict.HELPS], by_verdict[Verdict.HURTS]
    if helping:
        best, gain = helping[0]
        answer = (
            f"Train on {names[best]} first: it helps, {with_interval(gain, look.plan.margin)} "
            f"points over training directly, well tuned."
        )
        if len(helping) > 1:
            others = ", ".join(names[trial] for trial, _ in helping[1:])
            answer += f" So does {others}, by {in_points(helping[1][1].points)} or less."
    elif len(by_verdict[Verdict.EQUIVALENT]) == len(gains):
        answer = (
            f"Train directly: all {len(gains)} recipes that were confirmed are equivalent to that "
            f"within {look.plan.margin:g} points."
        )
    elif by_verdict[Verdict.UNDECIDED]:
        answer = f"Undecided: none of the {len(gains)} recipes that were confirmed helps reliably."
    else:
        answer = f"Train directly: none of the {len(gains)} recipes that were confirmed helps."
    if hurting:
        names_of = ", ".join(f"{names[trial]} by {in_points(x.points)}" for trial, x in hurting)
        answer += f" Reliably worse: {names_of}."
    return answer
