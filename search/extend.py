"""`python -m search.extend`: go on with a study whose space has grown, with the trials it has."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any

from search.command_line.options import (
    add_cache,
    add_data,
    add_storage,
    fail_in_one_line,
    start_torch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from objectives.transfer import TransferObjective
    from search.studies.reopened import ReopenedStudy
    from spaces.dimensions import SearchSpace
    from spaces.recipe import Recipe

EPILOG = """\
Change the study's file, or name what is new with --set. Everything that the study has tried must
still be what it was: tasks, arms, epochs, rates and the like may be added, not taken away, and the
reference baseline must stay. The study goes on as a new version, NAME@2, which search.run, report
and all others mean by NAME from then on; the old one stays as NAME@1.
"""
# What a trial's value does not depend on, given its recipe.
MAY_GROW = (
    r"spec\.(arms|repeat_leaders|stop_behind|sampler|mixtures.*|"
    r"intermediate\.tasks|(intermediate|target)\.(epochs|learning_rate|batch_size|examples|warmup_ratio|method|"
    r"frozen_layers|lora_rank|prompt_length|shots|pooled_layer|similarity))"
)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.extend", description=__doc__, epilog=EPILOG
    )
    options.add_argument(
        "--study", required=True, help="a shipped study, or the path of a .toml file, as it is now"
    )
    options.add_argument("--name", help="name in the storage; default: that of the study file")
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a field of the study file, as in intermediate.epochs=[1,2,4]",
    )
    add_data(options)
    options.add_argument("--backbone", metavar="NAME", help="encoder, as of search.run")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--precision", default="auto", help="default: the study's own")
    add_storage(options)
    add_cache(options, limit=False)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        from spaces.catalogue import load_catalogue
        from spaces.studies import load_study
        from spaces.study_checks import check_study

        spec = load_study(options.study, options.set)
        catalogue = load_catalogue().extended(spec.tasks, f"study {spec.name!r}")
        check_study(spec, catalogue)
        start_torch(None)
        import optuna

        from search.studies.definition import build_objective, defining_facts
        from search.studies.reopened import ReopenRequest, reopen_study
        from search.workers.session import as_asked

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        spec, source = as_asked(spec, catalogue, options)
        request = ReopenRequest(
            options.name or spec.name,
            options.storage,
            options.data,
            options.backbone,
            options.cache,
            options.device,
            options.precision,
        )
        old = reopen_study(request, lambda stage: None)
        storage = old.storage
        new = build_objective(
            old.study.study_name, spec, catalogue, source, storage, options, lambda stage: None
        )
        facts, space = defining_facts(new)
        name, carried = _extend(old, new, facts, space)
    print(
        f"{name}: {carried} trials of {old.study.study_name} and a larger space; go on with "
        f"python -m search.run --study {options.study} --trials N"
    )
    return 0


def _extend(
    old: ReopenedStudy, new: TransferObjective, facts: dict[str, Any], space: SearchSpace
) -> tuple[str, int]:
    """Make the next version of a study.

    Raises:
        StorageError: Workers are at the study, nothing is new, or a trial would be another.
    """
    import optuna

    from search.studies.definition import differences, name_metric, provenance
    from search.studies.versions import version_name, version_of
    from spaces.errors import StorageError
    from storage.leases import Leases
    from storage.slots import Slots
    from storage.workers import Workers

    study, storage, ledger = old.study, old.storage, old.objective.ledger
    workers = Workers(storage.engine, study.study_name)
    if alive := [worker for worker in workers.all() if not worker.is_silent]:
        raise StorageError(
            f"study {study.study_name!r}: expected no worker at it, found {len(alive)}; end them "
            f"and extend it then"
        )
    frozen = ledger.frozen_study(study.study_name)
    assert frozen is not None, study.study_name
    changed = differences(frozen, facts)
    if not changed:
        raise StorageError(
            f"study {study.study_name!r}: expected a larger space, found the one it has; change "
            f"its file, or name what is new with --set"
        )
    for place, text in changed.items():
        is_new = place.startswith(("data.corpora.", "backbones.")) and " absent then" in text
        if not (is_new or re.fullmatch(MAY_GROW, place)):
            raise StorageError(
                f"study {study.study_name!r}: its trials would mean something else: {text}; start "
                f"another study with --name"
            )
    trials = study.get_trials(deepcopy=False)
    carried = [_carried(trial, old.space, space, list(changed.values())) for trial in trials]
    stem, version = version_of(study.study_name)
    name = version_name(stem, version + 1)
    if name in optuna.get_all_study_names(storage):  # an extension that was killed half-way
        optuna.delete_study(study_name=name, storage=storage)
    made = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    ledger.forget_study(name)
    about = {**study.user_attrs, **provenance(new), "extends": study.study_name}
    for key, value in about.items():
        made.set_user_attr(key, value)
    name_metric(made, facts)
    for trial in carried:
        made.add_trial(trial)
    ledger.copy_study(study.study_name, name)
    workers.copy_account(name)
    Slots(storage.engine, Leases(storage.engine), study.study_name).copy(name)
    # Last: without it nobody takes the new version for one.
    ledger.freeze_study(name, facts)
    return name, len(carried)


def _carried(
    trial: FrozenTrial, old: SearchSpace, new: SearchSpace, changed: Sequence[str]
) -> FrozenTrial:
    """A trial with the parameters that it has in the larger space.

    Raises:
        StorageError: There is none that is the same recipe.
    """
    from optuna.trial import TrialState, create_trial

    from search.workers.trial_attempts import Failure
    from spaces.dimensions import suggest_recipe
    from spaces.errors import StorageError

    state, attributes = trial.state, dict(trial.user_attrs)
    if state is TrialState.RUNNING:
        state = TrialState.FAIL
        attributes |= {"failure": Failure.LOST, "reason": "its worker was gone at the extension"}
    answers = _Answers(trial.params, old)
    if trial.params:
        recipe: Recipe | None = None
        try:
            recipe = suggest_recipe(answers, new)
        except LookupError as error:
            reason = str(error.args[0])
        else:
            reason = f"its recipe would be another ({'; '.join(changed)})"
        if recipe != suggest_recipe(_Answers(trial.params, old), old):
            raise StorageError(
                f"trial {trial.number} would be lost: {reason}. A space may grow and not shrink, "
                f"and what all trials share must stay; start another study with --name"
            )
    return create_trial(
        state=state,
        value=trial.value,
        params=answers.params,
        distributions=answers.distributions,
        user_attrs=attributes,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


class _Answers:
    """Says again what a trial chose, and what its space left no choice of."""

    def __init__(self, params: dict[str, Any], space: SearchSpace) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, Any] = {}
        self._chosen, self._space = params, space

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """What it was.

        Raises:
            LookupError: It is none of `choices`.
        """
        from optuna.distributions import CategoricalDistribution

        from spaces.dimensions import only_choice

        value = self._chosen[name] if name in self._chosen else only_choice(self._space, name)
        if value not in choices:
            raise LookupError(f"{name} {value} is not in {', '.join(map(str, choices))}")
        self.params[name] = value
        self.distributions[name] = CategoricalDistribution(choices)
        return value


if __name__ == "__main__":
    sys.exit(main())
