"""A recipe's model, trained once more and written as a folder that transformers loads.

Only scores are kept of target stages, so the model is trained again; intermediate stages come from
the cache. The folder holds the model, its tokenizer, the model card and `recipe.json`.
"""

from __future__ import annotations

import json
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
from safetensors import SafetensorError
from transformers import PreTrainedModel

from objectives.stages.stage import VERSIONS, StageProgress
from search.findings.confirmation import finished, looks_of
from search.findings.recommendation import Choice, RecipeEvidence, of_trial, recommended
from search.findings.test_splits import test_split_lines
from search.handover.model_card import ExportedModel, model_card
from search.handover.requests import ExportRequest
from search.studies.reopened import ReopenedStudy, reopen_study
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.errors import SpecError, TransferSearchError, first_line, unknown_name
from spaces.recipe import Method, Recipe


@dataclass(frozen=True)
class ExportedFolder:
    """What an export has written.

    Attributes:
        folder: Where the model lies.
        steps: Tasks that it was trained on, as in `conll2003 -> panx`.
        seed: Random seed of its training.
        published: Address of its repository on the Hub; None where it was not pushed.
    """

    folder: Path
    steps: str
    seed: int
    published: str | None


def export_model(
    request: ExportRequest,
    on_choice: Callable[[str], None],
    on_progress: Callable[[StageProgress], None],
) -> ExportedFolder:
    """Train a recipe of a study once more, and write its model.

    Args:
        request: Which model, and where to.
        on_choice: Called before the training with the reason for this recipe.
        on_progress: Called at every update of the training.

    Raises:
        SpecError: No target task is named where there are several, the recipe has a soft prompt,
            or the folder cannot be written.
        UnknownNameError: There is no such study, target task, trial or seed.
        TransferSearchError: The Hub refuses, or the training fails as a trial's may.
    """
    reopen = request.study
    study = open_stored_study(reopen.storage, reopen.study, backbone=reopen.backbone)
    task = _target_task(request.task, study)
    choice = recommended(study, task) if request.trial is None else of_trial(study, request.trial)
    seed = _seed(request.seed, choice.evidence)
    if request.push_to_hub:
        with _hub() as hub:  # asked before a training that may take long
            hub.whoami()
    on_choice(choice.reason)
    reopened = reopen_study(reopen, on_progress)
    exported, model = _trained(reopened, study, choice, task, seed)
    exported = replace(exported, place=request.push_to_hub or exported.place)
    _write(request.to, exported, model, reopened.objective.hardware.name)
    if finished(looks_of(study)):
        seen = f"trial {choice.evidence.trial} for {task}, seed {seed}"
        reopened.objective.ledger.record_test_read(study.name, "export", seen)
    published = _push(request.to, request.push_to_hub) if request.push_to_hub else None
    return ExportedFolder(request.to, exported.steps, seed, published)


def _target_task(task: str | None, study: StoredStudy) -> str:
    """The target task to train for."""
    targets = study.spec.target.tasks
    if task is None and len(targets) > 1:
        raise SpecError(
            "--task",
            f"one of the targets of {study.name!r} ({', '.join(targets)})",
            "none",
            "each has a model of its own",
        )
    task = task or targets[0]
    if task not in targets:
        raise unknown_name("target task", task, targets, f"one of {study.name!r}")
    return task


def _seed(asked: int | None, evidence: RecipeEvidence) -> int:
    seed = evidence.seeds[0] if asked is None else asked
    if seed not in evidence.seeds:
        known = list(map(str, evidence.seeds))
        raise unknown_name("Seed", str(seed), known, "one that the recipe was scored with")
    return seed


def _trained(
    reopened: ReopenedStudy, study: StoredStudy, choice: Choice, task: str, seed: int
) -> tuple[ExportedModel, PreTrainedModel]:
    """Train the recipe once more; intermediate stages come from the cache."""
    objective, recipe = reopened.objective, _recipe(reopened, choice.evidence)
    (route,) = (x for x in recipe.routes if x.target.task == task)
    if route.target.method is Method.SOFT_PROMPT:
        raise SpecError(
            f"trial {choice.evidence.trial}",
            f"a method whose result lies in the model's weights ({Method.FULL}, {Method.LORA})",
            f"{Method.SOFT_PROMPT}, which from_pretrained has no place for",
            "name another recipe with --trial",
        )
    stage, model = objective.trained_model(recipe, task, seed)
    route = replace(route, target=stage)
    exported = ExportedModel(
        study,
        choice,
        objective.catalogue[task],
        route,
        seed,
        objective.backbone(recipe.backbone),
        "DIR",
        {"transfer-search": version("transfer-search"), **VERSIONS},
    )
    return exported, model


def _recipe(reopened: ReopenedStudy, evidence: RecipeEvidence) -> Recipe:
    if evidence.is_baseline:
        return reopened.direct_training(evidence.trial)
    return reopened.recipe(evidence.trial)


def _write(place: Path, exported: ExportedModel, model: PreTrainedModel, device: str) -> None:
    """Make the folder, whole or not at all."""
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
        raise SpecError("--to", found=f"{place} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _record(exported: ExportedModel, device: str) -> dict[str, Any]:
    """All that made the model, in JSON's types."""
    study, evidence = exported.study, exported.choice.evidence
    look = evidence.confirmation
    return {
        "study": study.name,
        "question": study.spec.question,
        "task": exported.task.name,
        "trial": evidence.trial,
        "is_direct_training": evidence.is_baseline,
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
        "gains": evidence.verdicts.as_json(),
        "gains_of_seeds": evidence.seeds,
        "confirmation": look
        and {
            "look": look.number,
            "begun_at": look.begun_at,
            "baseline": dict(look.plan.baseline),
            "looks": look.plan.looks,
            "margin": look.plan.margin,
            "itself": evidence.paired.as_json(),
            "test_splits": test_split_lines(study),
        },
        # Encoders are named by their folders there.
        "defined_by": {
            name: x for name, x in study.definition.as_json().items() if name != "backbones"
        },
        "device": device,
        "versions": exported.versions,
        "command": exported.command,
    }


def _push(folder: Path, repository: str) -> str:
    """Put a folder on the Hub, into a private repository if it is new; returns its address."""
    try:
        with _hub() as hub:
            # exist_ok: a model that was published before gets another commit.
            made = hub.create_repo(repository, private=True, exist_ok=True)
            hub.upload_folder(
                repo_id=made.repo_id, folder_path=folder, commit_message="Exported model"
            )
    except TransferSearchError as error:
        command = shlex.join(["hf", "upload", repository, str(folder)])
        advice = f"{folder} is complete, `{command}` uploads it"
        raise TransferSearchError(error.subject, error.expected, error.found, advice) from error
    return str(made)


@contextmanager
def _hub() -> Iterator[huggingface_hub.HfApi]:
    """The Hub's interface, whose errors become one line."""
    try:
        yield huggingface_hub.HfApi()
    # OSError: no token, offline mode, a file that is gone. ValueError: a card that it refuses.
    except (httpx2.HTTPError, OSError, ValueError) as error:
        reason = first_line(error)
        raise TransferSearchError("--push-to-hub", found=f"the Hub refused: {reason}") from error
