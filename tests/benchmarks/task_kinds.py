"""Every kind of task, trained and scored once: what it comes to and how long it takes.

Each row is one recipe: an intermediate stage of the kind before a target of the kind (of another
one where no target of the kind can be had), scored on the target's languages. On the pocket
corpora unless `--data` and `--backbone` name real ones.

    python -m tests.benchmarks.task_kinds [--quick] [--data DIR --backbone DIR]

Ends in a JSON line with `kinds_with_scores`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource, SourceKind
from objectives.hardware import keep_freed_memory, usable_cores
from objectives.models.encoders import quiet_libraries
from spaces.catalogue import Catalogue, load_catalogue
from spaces.recipe import Recipe, Route, Schedule, Stage
from spaces.records import parse
from spaces.studies import StudySpec
from spaces.study_checks import check_study
from spaces.task import TaskKind
from storage.tables import PairedScore, StageRun
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.pocket_trainings import objective_of


@dataclass(frozen=True)
class Row:
    """One recipe.

    Attributes:
        kind: What it shows.
        intermediate: Catalogue task trained first.
        target: Catalogue task that is scored.
        languages: Of the target.
        examples: Of the target stage; 0 for retrieval.
    """

    kind: TaskKind
    intermediate: str
    target: str
    languages: tuple[str, ...]
    examples: int


# Low-resource languages throughout. No corpus of labelled pairs has any (PAWS-X is in English and
# six languages with much data), so that kind is scored in English, and as the way to NLI.
REAL = (
    Row(TaskKind.NER, "e_ner", "panx", ("swa", "tgl", "eus", "ind"), 1000),
    Row(TaskKind.POS, "ud_gum_court", "masakhapos", ("hau", "swa", "yor", "wol"), 1000),
    Row(TaskKind.CLASSIFICATION, "rhetorical_roles", "sib200", ("swa", "yor", "hau", "jav"), 700),
    Row(TaskKind.SENTIMENT, "druglib", "nusax", ("jav", "sun", "min", "ace"), 500),
    Row(TaskKind.NLI, "contractnli", "americasnli", ("quy", "aym", "grn"), 1500),
    Row(TaskKind.PAIR_CLASSIFICATION, "casehold_pairs", "pawsx", ("eng",), 1400),
    Row(TaskKind.PAIR_CLASSIFICATION, "casehold_pairs", "xnli", ("swa", "urd"), 1500),
    Row(TaskKind.SIMILARITY, "biosses", "semrel2024", ("hau", "kin", "afr", "ind"), 1000),
    Row(TaskKind.QA, "policyqa", "afriqa", ("hau", "ibo", "kin", "zul"), 1000),
    Row(TaskKind.QA, "policyqa", "tydiqa", ("swa",), 1000),
    Row(TaskKind.RETRIEVAL, "sick", "tatoeba", ("swa", "jav", "tgl", "eus"), 0),
    Row(TaskKind.MLM, "mlm_judgments", "panx", ("swa", "tgl", "eus", "ind"), 1000),
)
INVENTED = ("qaa", "qab", "qac")
POCKET = (
    Row(TaskKind.NER, "pocket_ner_parties", "pocket_ner", INVENTED, 160),
    Row(TaskKind.POS, "pocket_pos_registry", "pocket_pos", INVENTED, 160),
    Row(TaskKind.CLASSIFICATION, "pocket_topic_desks", "pocket_topic", INVENTED, 160),
    Row(TaskKind.SENTIMENT, "pocket_sentiment_reviews", "pocket_sentiment", INVENTED, 160),
    Row(TaskKind.NLI, "pocket_nli_clauses", "pocket_nli", INVENTED, 320),
    Row(TaskKind.PAIR_CLASSIFICATION, "pocket_pairs_contracts", "pocket_pairs", INVENTED, 320),
    Row(TaskKind.SIMILARITY, "pocket_similarity_legal", "pocket_similarity", INVENTED, 160),
    Row(TaskKind.QA, "pocket_qa_docket", "pocket_qa", INVENTED, 320),
    Row(TaskKind.RETRIEVAL, "pocket_topic_desks", "pocket_retrieval", INVENTED, 0),
    Row(TaskKind.RETRIEVAL, "pocket_topic_desks", "pocket_mining", INVENTED, 0),
    Row(TaskKind.MLM, "pocket_text_legal", "pocket_ner", INVENTED, 160),
)


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="pocket corpora, shorter stages")
    options.add_argument("--data", default="pocket", help="a folder; default: pocket corpora")
    options.add_argument("--backbone", default="pocket")
    options.add_argument("--epochs", type=int, default=3, help="of the target, on real corpora")
    options.add_argument("--threads", type=int, default=usable_cores())
    options.add_argument("--cache", type=Path, help="checkpoints; default: a new folder")
    options.add_argument("--only", help="one kind")
    chosen = options.parse_args()
    if (chosen.data == "pocket") != (chosen.backbone == "pocket"):
        options.error("--data and --backbone: expected both or neither")
    if chosen.quick and chosen.data != "pocket":
        options.error("--quick: is of the pocket corpora")
    quiet_libraries()
    keep_freed_memory()
    torch.set_num_threads(chosen.threads)
    source = choose_source(chosen.data)
    rows = POCKET if source.kind is SourceKind.POCKET else REAL
    print(f"{source}, {chosen.backbone}; validation scores in percent, one seed")
    print(f"{'kind':<20} {'recipe':<38} {'updates':>7} {'score':>6} {'gain':>6} {'s':>5}")
    if source.kind is SourceKind.POCKET:
        print(
            "the pocket encoder is trained first, for minutes, unless --cache has it",
            file=sys.stderr,
        )
    scores: dict[str, float] = {}
    results = []
    with tempfile.TemporaryDirectory() as name:
        for row in rows:
            if chosen.only not in {None, row.kind}:
                continue
            started = time.perf_counter()
            pairs, gain, updates = _measured(row, chosen, source, Path(name))
            seconds = time.perf_counter() - started
            by_language = {p.score.language: 100 * p.score.score for p in pairs}
            score = fmean(by_language.values())
            recipe = f"{row.intermediate} -> {row.target}"
            shown = " ".join(f"{x} {value:.1f}" for x, value in by_language.items())
            print(
                f"{row.kind:<20} {recipe:<38} {updates:>7} {score:>6.1f} {gain:>+6.1f} "
                f"{seconds:>5.0f}  {shown}",
                flush=True,
            )
            scores[row.kind] = score
            results.append(
                {
                    "kind": row.kind,
                    "intermediate": row.intermediate,
                    "target": row.target,
                    "scores": {x: round(value, 1) for x, value in by_language.items()},
                    "updates": updates,
                    "seconds": round(seconds, 1),
                }
            )
    print(
        json.dumps(
            {
                "benchmark": "task_kinds",
                "data": source.kind,
                "kinds_with_scores": sorted(scores),
                "kinds": len(TaskKind),
                "rows": results,
            }
        )
    )


def _measured(
    row: Row, chosen: argparse.Namespace, source: DataSource, folder: Path
) -> tuple[tuple[PairedScore, ...], float, int]:
    """The row's scores, its paired gain in points, and the updates that were trained in all."""
    catalogue = load_catalogue()
    spec = _study(row, catalogue, source)
    updates = 0

    def count(run: StageRun) -> None:
        nonlocal updates
        updates += run.updates_trained

    with objective_of(spec, catalogue, source, folder, chosen.cache) as objective:
        recipe = _recipe(row, chosen, catalogue, objective.corpora.train_sizes())
        pairs = objective(recipe, 0, count)
        (route,) = recipe.routes
        direct = objective(Recipe(recipe.backbone, "", (Route((), route.target),)), 0, count)
    mine, without = (fmean(x.score.score for x in scores) for scores in (pairs, direct))
    return pairs, 100 * (mine - without), updates


def _recipe(
    row: Row, chosen: argparse.Namespace, catalogue: Catalogue, sizes: dict[str, int]
) -> Recipe:
    pocket = chosen.data == "pocket"
    length = 64 if pocket else 128
    rate = 1e-3 if pocket else 5e-5
    first = Stage(
        task=row.intermediate,
        epochs=1,
        learning_rate=rate,
        batch_size=16,
        examples=min(sizes[row.intermediate], 320 if chosen.quick else 600),
        warmup_ratio=0.1,
        max_length=length,
        schedule=Schedule.CONSTANT,
    )
    target = replace(
        first,
        task=row.target,
        epochs=(3 if chosen.quick else 6) if pocket else chosen.epochs,
        examples=row.examples,
        schedule=Schedule.LINEAR,
        max_length=length if pocket or catalogue[row.target].kind is not TaskKind.QA else 256,
    )
    if not row.examples:
        target = replace(
            target, epochs=0, learning_rate=0.0, batch_size=1, warmup_ratio=0.0, pooled_layer=-1
        )
    return Recipe(chosen.backbone, row.intermediate, (Route((first,), target),))


def _study(row: Row, catalogue: Catalogue, source: DataSource) -> StudySpec:
    pocket = source.kind is SourceKind.POCKET
    record = {
        "name": "task_kinds",
        "question": "Does every kind of task train and score?",
        "arms": ["none", str(catalogue[row.intermediate].domain)],
        "backbone": "pocket",
        "source_language": "qas" if pocket else "eng",
        "intermediate": {"tasks": [row.intermediate], "epochs": 1},
        "target": {"tasks": [row.target], "languages": list(row.languages)},
    }
    spec = parse(StudySpec, record, "task kinds")
    check_study(spec, catalogue)
    return spec


if __name__ == "__main__":
    run_as_command(main)
