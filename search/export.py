"""`python -m search.export`: the best recipe's model, as a folder that transformers loads."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.command_line.options import (
    add_cache,
    add_data,
    add_storage,
    add_threads,
    fail_in_one_line,
    start_torch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi
    from transformers import PreTrainedModel

    from objectives.stages.stage import StageProgress
    from search.findings.recommendation import Choice, Evidence
    from search.handover.model_card import ExportedModel
    from search.studies.reopened import ReopenedStudy
    from search.studies.stored_study import StudyResults
    from spaces.recipe import Recipe

EPILOG = """\
Which recipe: the one that helps most by the study's confirmation, or the tuned baseline where
nothing helps; before a confirmation the leader of the search, and the model card says that it is
not confirmed. Only scores are kept of target stages, so it is trained again. DIR has
model.safetensors, config.json, the tokenizer, README.md (the model card) and recipe.json.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.export", description=__doc__, epilog=EPILOG
    )
    options.add_argument("--study", required=True, help="a study's name in the storage")
    options.add_argument("--to", required=True, type=Path, metavar="DIR", help="is made")
    options.add_argument("--task", help="which target task, where the study has several")
    options.add_argument("--trial", type=int, metavar="N", help="another recipe than the best")
    options.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="one that the recipe was scored with; default: the first, as the best one would be "
        "best by luck",
    )
    options.add_argument(
        "--push-to-hub",
        metavar="REPO",
        help="put DIR on the Hugging Face Hub as well, as in me/my-model; a new one is private",
    )
    add_data(options)
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--precision", default="auto", help="default: the study's own")
    add_threads(options, "the model is the very same again")
    options.add_argument(
        "--backbone", metavar="NAME", help="where the encoder lies now, if it was moved"
    )
    add_storage(options)
    add_cache(options, limit=False)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        _check(options)

        start_torch(options.threads)
        import optuna

        from search.findings.recommendation import of_trial, recommended
        from search.studies.reopened import reopen_study
        from search.studies.stored_study import open_results

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        results = open_results(options)
        task = _task(options, results)
        choice = (
            recommended(results) if options.trial is None else of_trial(results, options.trial)
        )
        seed = _seed(options, choice.evidence)
        if options.push_to_hub:  # before the training, which may take long
            with _hub() as hub:
                hub.whoami()
        print(choice.reason, file=sys.stderr)
        reopened = reopen_study(options, _say_what_is_trained)
        exported, model = _trained(options, reopened, results, choice, task, seed)
        _write(options.to, exported, model, reopened.objective.hardware.name)
        print(f"{options.to}: {exported.steps}, seed {seed}; load it with from_pretrained")
        if options.push_to_hub:
            _push(options.to, options.push_to_hub)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise where an option is wrong, before anything is read.

    Raises:
        SpecError: With the option.
    """
    from huggingface_hub.errors import HFValidationError

    # Documented there, but not among the names that the package exports to type checkers.
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    from spaces.errors import SpecError

    if options.to.exists():
        raise SpecError(f"--to: expected a folder that is not there yet, found {options.to}")
    if options.push_to_hub is not None:
        try:
            validate_repo_id(options.push_to_hub)
        except HFValidationError as error:
            raise SpecError(
                f"--push-to-hub: expected a name as in me/my-model, found {options.push_to_hub!r}"
            ) from error


def _task(options: argparse.Namespace, results: StudyResults) -> str:
    """The target task to train for.

    Raises:
        SpecError: There are several, and none is named.
        UnknownNameError: The study has no such target.
    """
    from spaces.errors import SpecError, unknown_name

    targets = results.spec.target.tasks
    if options.task is None and len(targets) > 1:
        raise SpecError(
            f"--task: expected one of the targets of {results.name!r} ({', '.join(targets)}), "
            f"found none; each has a model of its own"
        )
    task: str = options.task or targets[0]
    if task not in targets:
        raise unknown_name("target task", task, targets, f"one of {results.name!r}")
    return task


def _seed(options: argparse.Namespace, evidence: Evidence) -> int:
    from spaces.errors import unknown_name

    seed: int = evidence.seeds[0] if options.seed is None else options.seed
    if seed not in evidence.seeds:
        known = list(map(str, evidence.seeds))
        raise unknown_name("Seed", str(seed), known, "one that the recipe was scored with")
    return seed


def _say_what_is_trained(stage: StageProgress) -> None:
    if stage.done == 1:
        print(f"{stage.position} {stage.task}: {stage.total} updates", file=sys.stderr)


def _trained(
    options: argparse.Namespace,
    reopened: ReopenedStudy,
    results: StudyResults,
    choice: Choice,
    task: str,
    seed: int,
) -> tuple[ExportedModel, PreTrainedModel]:
    """Train the recipe once more; intermediate stages come from the cache.

    Raises:
        SpecError: It has a soft prompt.
        TransferSearchError: As for a trial.
    """
    from importlib.metadata import version

    from objectives.stages.stage import VERSIONS
    from search.handover.model_card import ExportedModel
    from spaces.errors import SpecError
    from spaces.recipe import Method

    objective, recipe = reopened.objective, _recipe(reopened, choice.evidence)
    (route,) = (x for x in recipe.routes if x.target.task == task)
    if route.target.method is Method.SOFT_PROMPT:
        raise SpecError(
            f"trial {choice.evidence.trial}: expected a method whose result lies in the model's "
            f"weights ({Method.FULL}, {Method.LORA}), found {Method.SOFT_PROMPT}, which "
            f"from_pretrained has no place for; name another recipe with --trial"
        )
    _, model = objective.trained_model(recipe, task, seed)
    exported = ExportedModel(
        results,
        choice,
        objective.catalogue[task],
        route,
        seed,
        objective.backbone(recipe.backbone),
        options.push_to_hub or "DIR",
        {"transfer-search": version("transfer-search"), **VERSIONS},
    )
    return exported, model


def _recipe(reopened: ReopenedStudy, evidence: Evidence) -> Recipe:
    from dataclasses import replace

    recipe = reopened.recipe(evidence.trial)
    if not evidence.is_baseline:
        return recipe
    routes = tuple(replace(route, intermediate=()) for route in recipe.routes)
    return replace(recipe, intermediate="", routes=routes)


def _write(place: Path, exported: ExportedModel, model: PreTrainedModel, device: str) -> None:
    """Make the folder, whole or not at all.

    Raises:
        SpecError: It cannot be written.
    """
    import json
    import shutil
    import uuid

    from safetensors import SafetensorError

    from search.handover.model_card import model_card
    from spaces.errors import SpecError

    partial = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        model.save_pretrained(partial)
        exported.backbone.tokenizer.save_pretrained(partial)
        model_card(exported).save(partial / "README.md")
        record = json.dumps(_record(exported, device), indent=2, ensure_ascii=False)
        (partial / "recipe.json").write_text(f"{record}\n", encoding="utf-8")
        partial.rename(place)
    except (OSError, SafetensorError) as error:
        raise SpecError(f"--to: {place} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _record(exported: ExportedModel, device: str) -> dict[str, Any]:
    """All that made the model, in JSON's types."""
    from dataclasses import asdict

    results, evidence = exported.results, exported.choice.evidence
    look = evidence.confirmation
    return {
        "study": results.name,
        "question": results.spec.question,
        "task": exported.task.name,
        "trial": evidence.trial,
        "is_tuned_baseline": evidence.is_baseline,
        "reason": exported.choice.reason,
        "seed": exported.seed,
        "intermediate": [asdict(stage) for stage in exported.route.intermediate],
        "target": asdict(exported.route.target),
        "backbone": {
            "name": exported.base_model,
            "revision": exported.backbone.revision,
            "fingerprint": exported.backbone.key,
        },
        "scores": {
            x.language: {"split": x.split, "metric": x.metric, "score": x.score, "n": x.examples}
            for x in evidence.scores(exported.task.name, exported.seed)
        },
        "gains": list(evidence.rows),
        "gains_of_seeds": evidence.seeds,
        "confirmation": look
        and {
            "look": look.look,
            "begun_at": look.begun_at,
            "baseline_trial": look.plan["baseline_trial"],
        },
        # Encoders are named by their folders there.
        "defined_by": {name: x for name, x in results.frozen.items() if name != "backbones"},
        "device": device,
        "versions": exported.versions,
        "command": exported.command,
    }


def _push(folder: Path, repository: str) -> None:
    """Put a folder on the Hub.

    Raises:
        TransferSearchError: The Hub does not take it.
    """
    from spaces.errors import TransferSearchError

    try:
        with _hub() as hub:
            # exist_ok: a model that was published before gets another commit.
            made = hub.create_repo(repository, private=True, exist_ok=True)
            hub.upload_folder(
                repo_id=made.repo_id, folder_path=folder, commit_message="Exported model"
            )
    except TransferSearchError as error:
        command = shlex.join(["hf", "upload", repository, str(folder)])
        raise TransferSearchError(
            f"{error}; {folder} is complete, `{command}` uploads it"
        ) from error
    print(f"published: {made}")


@contextmanager
def _hub() -> Iterator[HfApi]:
    """The Hub's interface, whose errors become one line.

    Raises:
        TransferSearchError: Whatever the Hub says.
    """
    import httpx2
    import huggingface_hub

    from spaces.errors import TransferSearchError

    try:
        yield huggingface_hub.HfApi()
    # OSError: no token, offline mode, a file that is gone. ValueError: a card that it refuses.
    except (httpx2.HTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TransferSearchError(f"--push-to-hub: the Hub refused: {reason}") from error


if __name__ == "__main__":
    sys.exit(main())
