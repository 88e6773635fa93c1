"""The answer of a study's search in sentences: the same on terminal, page, card and note."""

from __future__ import annotations

from collections.abc import Mapping

from search.command_line.next_commands import next_command
from search.findings.answer import ArmFinding, StudyAnswer
from search.findings.verdict_words import points_with_interval
from search.studies.stored_study import StoredStudy
from search.surrogate.answer import SURE, ArmAnswer

NOT_FAIR = "not tried fairly yet"


def verdict_word(known: ArmAnswer | None) -> str:
    """What may be said of an arm before it is confirmed, in a word or two.

    An arm of which hardly anything was tried is not judged.
    """
    if known is None or not known.is_fair:
        return NOT_FAIR
    if known.probability_gain >= SURE:
        return "helps"
    if known.probability_loss >= SURE:
        return "hurts"
    return "no clear difference"


def gain_words(known: ArmAnswer) -> str:
    """A gain as people read it, as in `+1.3 [+0.2, +2.4]`."""
    return points_with_interval(known.gain, *known.interval)


def answer_lines(study: StoredStudy, answer: StudyAnswer | None) -> list[str]:
    """The answer to the study's question, a line for each target task, then what is to be known.

    Args:
        study: The study.
        answer: What its search found.
    """
    if answer is None:
        return ["no answer yet: no recipe with an intermediate task is finished"]
    arms = (study.spec.about,) if study.spec.about else tuple(answer.arms)
    lines = [
        _sentence(arm, task, findings) for arm in arms for task, findings in answer.by_task.items()
    ]
    if len(answer.by_task) > 1:
        lines += [_sentence(arm, "all target tasks together", answer.arms) for arm in arms]
    if study.spec.about and (others := _others(study.spec.about, answer)):
        lines.append(others)
    if unfair := [arm for arm in arms if _is_unfair(arm, answer)]:
        trials = max(2 * sum(len(x.trials) for x in study.recipes), study.spec.trials)
        command = next_command("run", study.address, "--trials", str(trials))
        lines.append(f"to try {', '.join(unfair)} fairly: {command}")
    return lines


def _is_unfair(arm: str, answer: StudyAnswer) -> bool:
    parts = (*answer.by_task.values(), answer.arms)
    return any(verdict_word(findings[arm].known) == NOT_FAIR for findings in parts)


def regret_line(answer: StudyAnswer) -> str:
    """How far the recommendation probably is from the best recipe of the space."""
    return (
        f"the recommended recipe is expected to be within {answer.regret:.1f} points of the best "
        f"one (with 90 %: {answer.regret_90:.1f})"
    )


def _sentence(arm: str, task: str, findings: Mapping[str, ArmFinding]) -> str:
    """As in `legal and panx: helps, +2.1 [+0.4, +3.8] points, with e_ner first (...)`."""
    finding = findings[arm]
    known, recipe = finding.known, finding.recipe
    if known is None or recipe is None:
        return f"{arm} and {task}: {NOT_FAIR}, no recipe is finished"
    tried = f"{known.tried} of {finding.tasks} {arm} tasks tried"
    return (
        f"{arm} and {task}: {verdict_word(known)}, {gain_words(known)} points with {recipe.task} "
        f"first ({tried}; of itself {points_with_interval(known.itself, *known.itself_interval)})"
    )


def _others(about: str, answer: StudyAnswer) -> str:
    """Whether other arms show the same gain, which then is not the arm's own."""
    shown = []
    for task, findings in answer.by_task.items():
        known = [
            (x.known.gain, f"{task} {gain_words(x.known)} with {x.recipe.task} ({arm})")
            for arm, x in findings.items()
            if arm != about and x.known and x.recipe
        ]
        shown += [max(known)[1]] if known else []
    return f"best of the other arms: {'; '.join(shown)}" if shown else ""
