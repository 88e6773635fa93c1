"""How alike are the examples of one passage or premise, on real corpora with a real encoder?

    python -m tests.benchmarks.group_correlation --data DIR --backbone DIR [--kind qa|nli]

Targets are trained in English, with an intermediate task and without, and answer a split in each
of several languages. Of each the intraclass correlation (one-way analysis of variance with groups
of unequal size; Donner 1986, https://doi.org/10.2307/1403259) is told of the score of an example
and of its gain, with a standard error by resampling groups, and by how much the variance of the
gain due to examples grows when groups are resampled. Ends in a JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.data.choosing import choose_source
from objectives.data.study_corpora import Corpus, StudyCorpora
from objectives.gains.intervals import estimate_gains
from objectives.gains.seed_gains import PairedOutcomes, gains_of_outcomes
from objectives.hardware import Hardware, choose_hardware, keep_freed_memory, usable_cores
from objectives.models.encoders import load_backbone, quiet_libraries
from objectives.runner import Runner, ignore_batches
from objectives.scores.languages import score_languages
from objectives.scores.outcomes import Groups, Outcomes
from objectives.stages.stage import StageJob, Start, Work, train_stage
from spaces.catalogue import Catalogue, load_catalogue
from spaces.recipe import Schedule, Stage
from spaces.records import parse
from spaces.studies import StudySpec
from spaces.task import Metric, TaskKind
from tests.benchmarks.as_command import run_as_command

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is trained and scored.

    Attributes:
        kind: Kind of all tasks.
        intermediate: Task trained first, on one side.
        target: Task whose English training split is trained on.
        scored: Task -> languages whose test splits are answered.
        examples: Most training examples of the intermediate and of the target stage.
        max_length: Longest input, in sub-words.
    """

    kind: TaskKind
    intermediate: str
    target: str
    scored: dict[str, tuple[str, ...]]
    examples: tuple[int, int]
    max_length: int


PLANS = (
    Plan(TaskKind.NLI, "sick", "xnli", {"xnli": ("eng", "swa", "urd")}, (1500, 2253), 128),
    Plan(
        TaskKind.QA,
        "policyqa",
        "tydiqa",
        {"xquad": ("eng",), "tydiqa": ("eng", "swa"), "afriqa": ("bem", "ibo", "zul")},
        (200, 500),
        192,
    ),
)


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--data", required=True, help="a folder of corpora")
    options.add_argument("--backbone", required=True, help="an encoder's name or folder")
    options.add_argument("--kind", choices=[plan.kind for plan in PLANS], help="of two: one")
    options.add_argument("--split", choices=("test", "validation"), default="test")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--epochs", type=int, default=2, help="of the target")
    options.add_argument("--learning-rate", type=float, default=5e-5)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--threads", type=int, default=usable_cores())
    chosen = options.parse_args()
    quiet_libraries()
    keep_freed_memory()
    torch.set_num_threads(chosen.threads)
    started, rows = time.perf_counter(), []
    for plan in PLANS:
        if chosen.kind in {None, plan.kind}:
            for row in _measured(plan, chosen):
                print(json.dumps(row), flush=True)
                rows.append(row)
    seconds = round(time.perf_counter() - started)
    print(json.dumps({"benchmark": "group_correlation", "rows": rows, "seconds": seconds}))


def _measured(plan: Plan, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    catalogue, hardware = _catalogue(plan), choose_hardware("cpu", "auto")
    backbone = load_backbone(chosen.backbone)
    corpora = StudyCorpora(_study(plan, catalogue), catalogue, choose_source(chosen.data))
    sides: dict[bool, list[dict[tuple[str, str], Outcomes]]] = {True: [], False: []}
    scored = _scored(plan, corpora, backbone, chosen.split)
    for seed in range(chosen.seeds):
        for is_first_trained in sides:
            model = _trained(plan, corpora, backbone, hardware, (seed, is_first_trained, chosen))
            runner = Runner(hardware, Padding.of(backbone.tokenizer), ignore_batches)
            found = {}
            for (name, language), corpus in scored.items():
                task, split = catalogue[name], {language: corpus.encoded}
                found[name, language] = score_languages(
                    model, split, task, _stage(plan, name), runner
                )[language].outcomes
            sides[is_first_trained].append(found)
    for at, corpus in scored.items():
        own, base = ([outcomes[at] for outcomes in sides[side]] for side in (True, False))
        groups = corpus.groups
        assert groups is not None, at
        metric = catalogue[at[0]].metric
        assert metric is not None, at
        yield {"task": at[0], "language": at[1], **_row(metric, own, base, groups)}


def _row(
    metric: Metric, own: list[Outcomes], base: list[Outcomes], groups: Groups
) -> dict[str, Any]:
    scores = [np.mean([_score(metric, x) for x in side], axis=0) for side in (own, base)]
    seeds = tuple(range(len(own)))
    variances = []
    for known in (groups, None):
        paired = PairedOutcomes(metric, seeds, tuple(own), tuple(base), "sample", known)
        found = estimate_gains(gains_of_outcomes({"": paired}))[""].examples_variance
        assert found is not None, "outcomes are known"
        variances.append(found)
    together = np.bincount(groups)
    return {
        "examples": len(groups),
        "groups": int((together > 0).sum()),
        "largest_group": int(together.max()),
        "score": round(100 * float(scores[0].mean()), 1),
        "gain": round(100 * float((scores[0] - scores[1]).mean()), 1),
        "of_score": _with_error(scores[0], groups),
        "of_gain": _with_error(scores[0] - scores[1], groups),
        "variance_grows_by": round(variances[0] / variances[1], 2),
    }


def _score(metric: Metric, outcomes: Outcomes) -> Values:
    """Score of each example, in [0, 1]."""
    if metric is Metric.EM_F1:
        return outcomes[:, :2].mean(axis=1, dtype=np.float64)
    return outcomes[:, 0].astype(np.float64)


def _with_error(values: Values, groups: Groups) -> list[float]:
    """The intraclass correlation and its standard error."""
    _, places = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(places, values**power) for power in range(3)], axis=1)
    rng = np.random.default_rng(0)
    drawn = [_correlation(sums[rng.integers(len(sums), size=len(sums))]) for _ in range(500)]
    return [round(_correlation(sums), 2), round(float(np.std(drawn)), 2)]


def _correlation(sums: Values) -> float:
    """Intraclass correlation from count, sum and sum of squares of each group, [groups, 3]."""
    sizes, totals, squares = sums.T
    count, many = sizes.sum(), len(sizes)
    if count == many:
        return 0.0
    between = ((totals**2 / sizes).sum() - totals.sum() ** 2 / count) / (many - 1)
    within = (squares - totals**2 / sizes).sum() / (count - many)
    usual = (count - (sizes**2).sum() / count) / (many - 1)
    whole = between + (usual - 1) * within
    return float((between - within) / whole) if whole else 0.0


def _scored(
    plan: Plan, corpora: StudyCorpora, backbone: Backbone, split: str
) -> dict[tuple[str, str], Corpus]:
    read = corpora.confirmation if split == "test" else corpora.evaluation
    return {
        (name, language): read(backbone, _stage(plan, name), language)
        for name, languages in plan.scored.items()
        for language in languages
    }


def _trained(
    plan: Plan,
    corpora: StudyCorpora,
    backbone: Backbone,
    hardware: Hardware,
    how: tuple[int, bool, argparse.Namespace],
) -> Any:
    """A model of the target, with the intermediate task before it or without."""
    (seed, is_first_trained, chosen), sizes = how, corpora.train_sizes()
    weights, model = backbone.weights, None
    names = [plan.intermediate, plan.target] if is_first_trained else [plan.target]
    for name in names:
        most = plan.examples[name == plan.target]
        epochs = chosen.epochs if name == plan.target else 1
        stage = replace(
            _stage(plan, name),
            epochs=epochs,
            examples=min(most, sizes[name]),
            learning_rate=chosen.learning_rate,
            batch_size=chosen.batch_size,
        )
        examples = tuple(corpora.training(backbone, stage))
        start = Start.of(backbone)
        job = StageJob(backbone, stage, start, seed, "target", examples, hardware)
        model, _ = train_stage(job, weights, Work(), ignore_batches)
        weights = {name: x.detach().clone() for name, x in model.base_model.state_dict().items()}
    return model


def _stage(plan: Plan, task: str) -> Stage:
    return Stage(task, 1, 5e-5, 16, 1, 0.1, plan.max_length, Schedule.LINEAR)


def _catalogue(plan: Plan) -> Catalogue:
    """The catalogue, with what is scored trained on the plan's target."""
    catalogue = load_catalogue()
    own = catalogue.training_task(catalogue[plan.target]).name
    changed = {
        name: catalogue[name].model_copy(update={"source_task": own})
        for name in plan.scored
        if name != own
    }
    return Catalogue({**catalogue.tasks, **changed})


def _study(plan: Plan, catalogue: Catalogue) -> StudySpec:
    languages = {x for of_task in plan.scored.values() for x in of_task}
    record = {
        "name": "group_correlation",
        "question": "How alike are examples that belong together?",
        "arms": ["none", str(catalogue[plan.intermediate].domain)],
        "backbone": "any",
        "source_language": "eng",
        "intermediate": {"tasks": [plan.intermediate], "epochs": 1},
        "target": {"tasks": [*plan.scored], "languages": sorted(languages)},
    }
    return parse(StudySpec, record, "group correlation")


if __name__ == "__main__":
    run_as_command(main)
