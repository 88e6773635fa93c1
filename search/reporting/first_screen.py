"""The first screen of a report: the answer in words, how sure it is, and what to do next.

The answer is a confirmation's, where there is one. Else it says that it is not confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from optuna.trial import TrialState

from objectives.gains.rules import Verdict
from search.command_line.next_commands import next_command
from search.command_line.words import in_hours
from search.findings.answer_words import answer_lines, regret_line
from search.findings.baseline_words import baseline_lines
from search.findings.confirmation import (
    ConfirmationResult,
    Look,
    error_left,
    finished,
    looks_of,
)
from search.findings.confirmed_words import confirmed_answer
from search.findings.landscape import Landscape
from search.findings.missing_rows import missing_lines
from search.findings.stage_costs import StudyCost
from search.findings.study_status import trial_counts
from search.findings.test_splits import test_split_lines
from search.findings.verdict_words import (
    aggregate_note,
    looks_in_words,
    state_line,
    verdict_sentences,
)
from search.studies.stored_study import StoredStudy
from search.studies.versions import newest_version, version_of
from spaces.studies import NO_INTERMEDIATE

_Finished = tuple[Look, ConfirmationResult]
INTERVALS = "Intervals are corrected as the verdicts are: one without 0 in it is one."


@dataclass(frozen=True)
class FirstScreen:
    """The first screen of a report, in words.

    Attributes:
        answer: Answer to the study's question, a sentence in each line.
        how_sure: What the answer rests on.
        verdicts: A confirmation's verdicts in words, each with what it consists of.
        asked: What was compared, on what.
        cost: Time that it took.
        next: Steps to take: in words, and as a command to paste. The first is the advice.
    """

    answer: str
    how_sure: list[str]
    verdicts: list[tuple[str, list[str]]]
    asked: str
    cost: str
    next: list[tuple[str, str]]


def first_screen(study: StoredStudy, landscape: Landscape, cost: StudyCost) -> FirstScreen:
    """Put a study's results into words."""
    looks = looks_of(study)
    done = finished(looks)
    return FirstScreen(
        answer=_answer(study, landscape, done),
        how_sure=[*missing_lines(study.name, study.storage), *_how_sure(study, landscape, done)],
        verdicts=_verdicts(done),
        asked=_asked(study),
        cost=_cost_in_words(cost, done),
        next=_next_steps(study, looks),
    )


def _answer(study: StoredStudy, landscape: Landscape, done: Sequence[_Finished]) -> str:
    if done:
        return confirmed_answer(*done[-1])
    lines = list(map(_sentence, answer_lines(study, landscape.answer)))
    return "\n".join(lines if landscape.answer is None else ["Not confirmed.", *lines])


def _sentence(line: str) -> str:
    """The line as a sentence, without a stop after what is to be pasted."""
    return f"{line[0].upper()}{line[1:]}{'' if 'python -m' in line else '.'}"


def _how_sure(study: StoredStudy, landscape: Landscape, done: Sequence[_Finished]) -> list[str]:
    if landscape.answer is None:
        return []
    if not done:
        lines = [
            f"Exploratory: the recipes were chosen by the same {study.spec.selection} scores "
            f"that judge them here; only a confirmation says what they gain on test splits. Gains "
            f"are what the search model expects, intervals of 95 %.",
            _sentence(regret_line(landscape.answer)),
        ]
        if study.baseline is not None:
            lines += map(_sentence, baseline_lines(study.baseline))
        return lines + _aggregate_lines(study)
    look, result = done[-1]
    plan, cells = look.plan, result.verdicts.cells
    helps, hurts, alike = (
        sum(cell.gain.verdict is verdict for cell in cells)
        for verdict in (Verdict.HELPS, Verdict.HURTS, Verdict.EQUIVALENT)
    )
    lines = [
        f"Confirmed on {look.begun_at[:10]}: {len(plan.recipes)} recipes chosen "
        f"before any test split was read, up to {result.seeds} fresh seeds, test splits, "
        f"against the best direct training; looks after {looks_in_words(plan.looks)} "
        f"were planned. The verdicts are corrected so that at most 5 % of such studies say helps "
        f"or hurts wrongly. {INTERVALS}"
    ]
    lines.append(_sentence(state_line(look, result)))
    lines += map(_sentence, test_split_lines(study))
    lines.append(
        f"Of {len(cells)} recipes in single languages {helps} help reliably, {hurts} hurt, "
        f"{alike} are equivalent to direct training; the rest is undecided."
    )
    if look.number > 1:
        lines.append(
            f"This is look {look.number} at the same test splits, with the error that those "
            f"before had left."
        )
    trials = sum(len(recipe.trials) for recipe in study.recipes)
    if (newer := trials - plan.trials_of_the_search) > 0:
        what = "trials are" if newer > 1 else "trial is"
        lines.append(f"The search has gone on since: {newer} {what} not in this.")
    return lines + _aggregate_lines(study)


def _verdicts(done: Sequence[_Finished]) -> list[tuple[str, list[str]]]:
    told = verdict_sentences(*done[-1]) if done else []
    return [(_sentence(verdict), [*map(_sentence, below)]) for verdict, below in told]


def _aggregate_lines(study: StoredStudy) -> list[str]:
    spec = study.spec
    note = aggregate_note(spec.target.aggregate, len(spec.target_tasks(study.catalogue)))
    return [_sentence(note)] if note else []


def _asked(study: StoredStudy) -> str:
    spec, catalogue = study.spec, study.catalogue
    targets = "; ".join(
        f"{task.name} in {', '.join(spec.target_languages(task))}"
        for task in spec.target_tasks(catalogue)
    )
    counts = trial_counts(study.optuna_study).items()
    states = ", ".join(f"{n} {'failed' if state == 'fail' else state}" for state, n in counts)
    direct = sum(len(recipe.trials) for recipe in study.direct)
    return (
        f"Arms {', '.join(spec.arms)}; {len(spec.intermediate.tasks)} intermediate tasks; targets "
        f"{targets}; {direct} direct trainings, then {len(study.recipes)} recipes in "
        f"{states or 'no'} trials; selected on {spec.selection}."
    )


def _cost_in_words(cost: StudyCost, done: Sequence[_Finished]) -> str:
    words = (
        f"{in_hours(cost.trained.seconds)} of training and scoring, where trials that share "
        f"nothing would have taken {in_hours(cost.asked.seconds)}"
    )
    if cost.spent_elsewhere.seconds >= 1:
        words += f"; {in_hours(cost.spent_elsewhere.seconds)} went into trials without a result"
    seconds = sum(result.seconds for _, result in done)
    return words + (f"; confirming took {in_hours(seconds)}." if done else ".")


def _next_steps(study: StoredStudy, looks: Sequence[Look]) -> list[tuple[str, str]]:
    confirm = _command(study, "confirm")
    if looks and not looks[-1].is_over:
        return [("A confirmation was begun and not finished; this goes on with it.", confirm)]
    if looks:
        return _after_confirmation(finished(looks)[-1][1], study)
    if running := study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        wait = f"Running trials: {len(running)}. Report again when they have ended."
        return [(wait, _command(study, "report"))]
    trials = max(2 * len(study.optuna_study.get_trials(deepcopy=False)), study.spec.trials)
    more = _command(study, "run", "--trials", str(trials))
    tried = {recipe.arm for recipe in study.recipes}
    arms = (arm for arm in study.spec.arms if arm != NO_INTERMEDIATE)
    if missing := [arm for arm in arms if arm not in tried]:
        return [(f"Go on searching: {', '.join(missing)} has no recipe yet.", more)]
    return [
        ("Confirm the leaders with fresh seeds on the test splits, until decided.", confirm),
        ("Or search on before:", more),
    ]


def _after_confirmation(result: ConfirmationResult, study: StoredStudy) -> list[tuple[str, str]]:
    gains = [x.gain for x in result.verdicts.recipes]
    if any(gain.verdict is Verdict.HELPS for gain in gains):
        return _exports(study, "This writes the model to use")
    direct = (
        "As long as nothing helps reliably, the model to use is the best direct training. This "
        "writes it"
    )
    steps = _exports(study, direct)
    left = error_left(looks_of(study))
    if result.undecided and left:
        again = (
            f"Another look may spend what error is left ({100 * left:.2g} %), on test splits that "
            f"have been looked at, which every later report will say:"
        )
        steps.append((again, _command(study, "confirm", "--again")))
    return steps


def _exports(study: StoredStudy, words: str) -> list[tuple[str, str]]:
    """The command that writes the model to use; of several targets each has its own."""
    targets = study.spec.target.tasks
    if len(targets) == 1:
        return [(f"{words}:", _command(study, "export", "--to", f"{study.name}-model"))]
    said = [f"{words} for {targets[0]}:", *(f"For {task}:" for task in targets[1:])]
    places = [("--task", task, "--to", f"{study.name}-{task}-model") for task in targets]
    commands = [_command(study, "export", *place) for place in places]
    return list(zip(said, commands, strict=True))


def _command(study: StoredStudy, command: str, *more: str) -> str:
    """The command as it is pasted; an older version of a study is named with its number."""
    address = study.address
    if command != "run" and newest_version(address.name, study.storage) != study.name:
        name, version = version_of(study.name)
        address = replace(address, name=f"{name}@{version}")
    return next_command(command, address, *more)
