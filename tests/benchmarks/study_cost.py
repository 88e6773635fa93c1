"""What a whole study costs: ours against a Trainer in an Optuna objective, in one run.

    python -m tests.benchmarks.study_cost --data DIR --backbone DIR
    python -m tests.benchmarks.study_cost --quick
    python -m tests.benchmarks.study_cost --data DIR --backbone DIR --table FILE   # trains a table

First table: one fixed list of recipes of `xtreme_legal`, of its entities alone, is run by us
(SQLite, ledger, leases, checkpoint cache, all in a fresh folder) and by the peer: what a careful
user writes, an objective that calls `transformers.Trainer` for the intermediate stage, for the
target and for the baseline, pads dynamically, keeps the encoded corpora in memory and nothing
else. Same encoder, examples, epochs, batch, rates, schedules, precision and threads; the orders of
the batches and the draws of the heads differ, as between two seeds, and Trainer's warm-up makes
its first update with a rate of zero. The two take turns, recipe by recipe, so that a machine that
slows down slows both. Reading, encoding and a first small training of each are before the clocks.

The peer trains a baseline, the same target stage alone, for each trial. Ours begins with the
direct trainings that a study of the program begins with, as many as its plan comes to: their
seconds are part of ours, once, however few the recipes are, and a recipe of the list without an
intermediate task costs ours nothing more. A recipe that comes again is a run with the next seed to
ours, which is trained, and the same training again to the peer.

The sizes are a fraction of the shipped study's: 48 of 1,200 examples for the intermediate task and
200 of 2,000 for the target, so that a peer of one thread takes about ten minutes for 24 recipes of
a six-layer encoder. Epochs, batch and number of rates are as shipped; the rates themselves are
five times higher, since nothing is learnt in 26 updates at 1e-5. Scored on two languages with 282
validation sentences in all. Fixed costs (Trainer's set-up, our checkpoints) weigh more here than
in a study of full size. The checkpoints of the full run take several gigabytes of the temporary
folder.

Ours trains every target stage to the longest of the study's numbers of epochs and takes the best
of them by validation; the peer trains each number apart, as its objective is asked. So recipes
that differ in nothing else are one to ours, and its scores are a little higher by that choice.

The score difference is between the two sides' mean F1 of a recipe, the seed spread between our own
of two seeds, both mean absolute differences in points.

Second table, to the same regret: `regret_studies` has what is simulated, on a table of really
trained recipes, and how long ours and the peer search until half of the studies recommend a recipe
within a point of the best. Updates become wall seconds by what an update of either side took in
the first table of the same command, everything around it included.

Without a data folder the pocket corpora and an untrained encoder are used: the machinery then
runs, and neither ratios nor scores say anything about real studies.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import optuna
import torch

from objectives.models.encoders import build_model, quiet_libraries
from search.studies.baseline import baseline_name
from spaces.dimensions import SearchSpace
from spaces.recipe import Recipe, Route
from storage.tables import StageRun, TrainedStage
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.plain_trial import queued_plainly
from tests.benchmarks.regret_studies import Regret, run_studies, show_studies
from tests.benchmarks.regret_table import TABLE, train_table
from tests.benchmarks.study_sides import STUDY_NAME, Ours, Peer, any_stage, parameters, prepare

# Recipes of both sides, and recipes at which our cost is looked at.
RUNS = (24, (8, 24, 72))
QUICK_RUNS = (8, (4, 8, 12))
QUICK_POCKET_RUNS = (6, (4, 8, 12))
STUDIES, QUICK_STUDIES = 100, 3
TABLE_SEEDS = 2
# Of no trial, so that nothing of the first training is found again.
WARM_UP_SEED = 999

# TASK:WXYZ with W, X the places of epochs and rate of the intermediate stage among the study's
# choices, and Y, Z those of the target stage; none:YZ. Drawn once by TPE, each arm first and
# direct training among them, on the real gains of a study of these sizes (MiniLM-L6, bfloat16 on a
# CPU, one thread).
DRAWN = """
    none:11 uner_ewt:1100 ncbi_disease:2110 inlegalner:1202 none:03 e_ner:1210 none:11
    ncbi_disease:2202 e_ner:0001 uner_ewt:2001 bc5cdr:2110 bc5cdr:2110 bc5cdr:2113 bc5cdr:2312
    wnut17:0110 bc5cdr:2110 bc2gm:0300 inlegalner:1313 inlegalner:1313 inlegalner:1313
    wikigold:1313 wikigold:1313 wikigold:1013 wikigold:1312 wikigold:1303 none:13 wikigold:0211
    wikigold:0211 wikigold:0213 wikigold:0213 wikigold:0313 wikigold:0213 wikigold:0213 none:12
    wnut17:0213 none:00 e_ner:1103 wikigold:0202 e_ner:1312 wikigold:1013 bc2gm:0003
    wikigold:0213 wikigold:0213 wikigold:1213 ncbi_disease:1211 ncbi_disease:1211
    ncbi_disease:1211 ncbi_disease:1201 ncbi_disease:1211 none:01 ncbi_disease:1211 e_ner:1211
    ncbi_disease:1211 ncbi_disease:2211 none:10 none:11 ncbi_disease:1213 ncbi_disease:1211
    inlegalner:1100 ncbi_disease:1211 bc2gm:2312 ncbi_disease:1211 ncbi_disease:1211
    ncbi_disease:1211 ncbi_disease:1311 uner_ewt:1310 wnut17:1312 uner_ewt:1300 uner_ewt:1300
    uner_ewt:1300 uner_ewt:1300 uner_ewt:1300
"""
RECIPES = tuple(DRAWN.split())


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="within 50 s")
    options.add_argument("--data", help="folder of corpora; default: the pocket corpora")
    options.add_argument("--backbone", help="folder of an encoder; goes with --data")
    options.add_argument("--recipes", type=int, help="how many of the list both sides run")
    options.add_argument(
        "--table",
        type=Path,
        help="table of all recipes of the second table's study; with --data what it lacks is "
        "trained first, for half an hour; default: the one that is kept with the benchmark",
    )
    options.add_argument("--studies", type=int, help="simulated studies of each search")
    options.add_argument("--precision", default="auto")
    options.add_argument("--device", default="auto")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    if (chosen.data is None) != (chosen.backbone is None):
        options.error("--data and --backbone go together")
    growth: Sequence[int]
    compared, growth = RUNS
    if chosen.quick:
        compared, growth = QUICK_RUNS if chosen.data else QUICK_POCKET_RUNS
    if chosen.recipes is not None:
        compared = chosen.recipes
        growth = (compared,)
    if not 1 <= compared <= len(RECIPES):
        options.error(f"--recipes: expected 1 to {len(RECIPES)}, found {compared}")
    quiet_libraries()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(chosen.threads)
    if chosen.table and chosen.data:
        train_table(chosen.table, chosen.data, chosen.backbone, TABLE_SEEDS, chosen.precision)
    studies = chosen.studies or (QUICK_STUDIES if chosen.quick else STUDIES)
    regret = run_studies(chosen.table or TABLE, studies)
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(*prepare(chosen, Path(name)))
        _run_all(chosen, bench, compared, growth, regret)


@dataclass(frozen=True)
class _Bench:
    ours: Ours
    peer: Peer
    source: str
    encoder: str


@dataclass(frozen=True)
class _Bill:
    """Seconds of some of our recipes and of the direct trainings, as the ledger has them.

    Attributes:
        wall: In all.
        paired: If every stage were trained and scored each time, by our loop, and a baseline for
            each recipe as the peer does, in place of the direct trainings.
        asked: If every stage asked for were trained and scored each time, by our loop.
        trained: Really trained and scored.
        distinct: Each distinct stage once, of stages that go on from each other the longest:
            no search can do with less.
        outside: Outside the objective: Optuna, and the ledger's results.
        models: How many were built, one for each training.
        updates: Trained.
    """

    wall: float
    paired: float
    asked: float
    trained: float
    distinct: float
    outside: float
    models: int
    updates: int


def _run_all(
    chosen: argparse.Namespace,
    bench: _Bench,
    compared: int,
    growth: Sequence[int],
    regret: Regret,
) -> None:
    ours, peer = bench.ours, bench.peer
    recipes = max(compared, *growth)
    for number, text in enumerate(RECIPES[:recipes]):
        point = parameters(text, ours.objective)
        if number < compared:
            peer.study.enqueue_trial(queued_plainly(point))
        if not _is_direct(text):
            # No dimension of ours: one training gives them all.
            ours.study.enqueue_trial({k: v for k, v in point.items() if k != "target.epochs"})
    _warm_up(ours, peer)
    with ours.beating():
        ours.tune()
        line = f"{len(ours.within)} direct trainings of ours: {ours.direct.wall[0]:.2f} s"
        print(line, file=sys.stderr, flush=True)
        scores = _take_turns(ours, peer, recipes, compared)
    spread = _seed_spread(ours, compared, chosen.quick)
    _show(chosen, bench, _Compared(scores, compared, growth), spread, regret)


@dataclass(frozen=True)
class _Compared:
    """What was run.

    Attributes:
        scores: Ours of each recipe, in [0, 1].
        recipes: How many both sides ran.
        growth: Numbers of them at which our cost is looked at.
    """

    scores: Sequence[float]
    recipes: int
    growth: Sequence[int]


def _is_direct(text: str) -> bool:
    return text.startswith("none:")


def _take_turns(ours: Ours, peer: Peer, recipes: int, compared: int) -> list[float]:
    scores = []
    for number, text in enumerate(RECIPES[:recipes]):
        seconds = 0.0
        if _is_direct(text):
            rate = parameters(text, ours.objective)["target.learning_rate"]
            scores.append(ours.direct_scores[rate])
        else:
            ours.run()
            scores.append(ours.scores[-1])
            seconds = ours.clock.wall[-1]
        line = f"{number + 1:3} {text:<18} ours {seconds:6.2f} s F1 {scores[-1]:.3f}"
        if number < compared:
            peer.run()
            line += f"   peer {peer.clock.wall[-1]:6.2f} s F1 {peer.scores[-1]:.3f}"
        print(line, file=sys.stderr, flush=True)
    return scores


def _show(
    chosen: argparse.Namespace,
    bench: _Bench,
    run: _Compared,
    spread: tuple[float, float],
    regret: Regret,
) -> None:
    ours, peer, compared, growth = bench.ours, bench.peer, run.recipes, run.growth
    bills = {recipes: _bill(ours, range(recipes)) for recipes in (*growth, compared)}
    # TPE repeats itself; a user might have skipped it.
    new = [n for n in range(compared) if RECIPES[n] not in RECIPES[:n]]
    once = _bill(ours, new)
    once_peer = sum(peer.clock.wall[n] for n in new)
    hardware = peer.hardware
    print(f"{bench.source}; {bench.encoder}; {hardware.name}, {hardware.precision}")
    print(_sizes(peer.space, ours.languages))
    print(f"\n{'recipe':<20} {'F1 ours':>8} {'F1 peer':>8} {'ours s':>8} {'peer s':>8}")
    direct = len(ours.within) - len(ours.scores)
    print(f"{f'{direct} direct trainings':<20} {'':8} {'':8} {ours.direct.wall[0]:8.2f}")
    for number, other in enumerate(peer.scores):
        trial = _trial_of(number)
        seconds = 0.0 if trial is None else ours.clock.wall[trial]
        print(
            f"{RECIPES[number]:<20} {100 * run.scores[number]:8.1f} {100 * other:8.1f} "
            f"{seconds:8.2f} {peer.clock.wall[number]:8.2f}"
        )
    bill = bills[compared]
    wall, cpu = sum(peer.clock.wall), sum(peer.clock.cpu)
    trials = [x for x in map(_trial_of, range(compared)) if x is not None]
    own_cpu = ours.direct.cpu[0] + sum(ours.clock.cpu[x] for x in trials)
    print(f"\n{compared} recipes: peer {wall:.1f} s wall, {cpu:.1f} s CPU;")
    print(
        f"{'':<11} ours {bill.wall:.1f} s wall, {own_cpu:.1f} s CPU, of it direct trainings "
        f"{ours.direct.wall[0]:.1f} s wall"
    )
    for name, more, less, words in (
        ("all", wall, bill.wall, f"peer / ours ({cpu / own_cpu:.2f} of CPU), made of"),
        ("engine", wall, bill.paired, "peer / our loop, were all trained that the peer trains"),
        ("baseline", bill.paired, bill.asked, "that / with direct trainings once"),
        ("reuse", bill.asked, bill.trained, "that / what was trained"),
        ("the rest", bill.trained, bill.wall, "that / ours"),
    ):
        print(f"{name:<9} {more / less:6.2f} = {more:7.1f} / {less:7.1f} s, {words}")
    print(
        f"without the {compared - len(new)} repeated recipes: all {once_peer / once.wall:.2f}, "
        f"reuse {once.asked / once.trained:.2f}"
    )
    building = _building_seconds(ours)
    print("\nrecipes     wall  distinct   ratio   again  building  keeping  outside   (seconds)")
    for recipes in growth:
        each = bills[recipes]
        around = each.wall - each.outside - each.trained
        print(
            f"{recipes:7} {each.wall:8.1f} {each.distinct:9.1f} {each.wall / each.distinct:7.3f} "
            f"{each.trained - each.distinct:7.1f} {each.models * building:9.1f} "
            f"{around - each.models * building:8.1f} {each.outside:8.1f}"
        )
    print(
        "again: trained more than once; building: models before a training, at the time of one;\n"
        "keeping: checkpoints written, hashed and read, leases, keys, scores, stage runs;\n"
        "outside: Optuna, its sampler and database, the results of a trial"
    )
    gaps = [100 * (run.scores[n] - peer.scores[n]) for n in new]
    print(
        f"\nF1, points: ours - peer {fmean(gaps):+.2f} in the mean, {fmean(map(abs, gaps)):.2f} "
        f"in absolute terms;\nours between two seeds {spread[0]:.2f} in absolute terms "
        f"(standard deviation {spread[1]:.2f})\n"
    )
    an_update = bill.wall / bill.updates, wall / sum(peer.updates)
    to_regret = show_studies(regret, *an_update)
    print(
        json.dumps(
            {
                "benchmark": "study_cost",
                "data": bench.source,
                "encoder": bench.encoder,
                "device": hardware.name,
                "precision": hardware.precision,
                "threads": chosen.threads,
                "quick": chosen.quick,
                "recipes": compared,
                "distinct_recipes": len(new),
                "recipes_of_ours": max(bills),
                "direct_trainings": direct,
                "wall_seconds_direct": round(ours.direct.wall[0], 2),
                "wall_seconds_ours": round(bill.wall, 2),
                "wall_seconds_peer": round(wall, 2),
                "wall_ratio": round(wall / bill.wall, 3),
                "cpu_ratio": round(cpu / own_cpu, 3),
                "engine_ratio": round(wall / bill.paired, 3),
                "baseline_ratio": round(bill.paired / bill.asked, 3),
                "reuse_ratio": round(bill.asked / bill.trained, 3),
                "wall_ratio_without_repeats": round(once_peer / once.wall, 3),
                "reuse_ratio_without_repeats": round(once.asked / once.trained, 3),
                "cost_over_distinct": round(
                    bills[max(growth)].wall / bills[max(growth)].distinct, 4
                ),
                "cost_over_distinct_by_recipes": {
                    recipes: round(bills[recipes].wall / bills[recipes].distinct, 4)
                    for recipes in growth
                },
                "score_difference": round(fmean(map(abs, gaps)), 3),
                "score_bias": round(fmean(gaps), 3),
                "seed_spread": round(spread[0], 3),
                "seed_deviation": round(spread[1], 3),
                "seconds_per_update": [round(x, 4) for x in an_update],
                **to_regret,
            }
        )
    )


# --- what is measured


def _trial_of(number: int) -> int | None:
    """Our trial of a recipe of the list; None of a direct training."""
    if _is_direct(RECIPES[number]):
        return None
    return sum(not _is_direct(text) for text in RECIPES[:number])


def _bill(ours: Ours, recipes: Sequence[int]) -> _Bill:
    stages = ours.ledger.trained_stages(STUDY_NAME)
    stages |= ours.ledger.trained_stages(baseline_name(STUDY_NAME))
    runs = ours.ledger.stage_runs(STUDY_NAME)
    direct = ours.ledger.stage_runs(baseline_name(STUDY_NAME))
    trials = [x for x in map(_trial_of, recipes) if x is not None]
    count = len(ours.within) - len(ours.scores)
    paired = asked = trained = 0.0
    models = updates = 0
    distinct: dict[object, float] = {}

    def add(of_run: Iterable[StageRun], recipe: Recipe | None) -> float:
        """Count a run; the seconds of its target stage."""
        nonlocal asked, trained, models, updates
        of_target = 0.0
        for run in of_run:
            trained += run.training_seconds + run.scoring_seconds
            models += run.updates_trained > 0
            updates += run.updates_trained
            if not run.updates_asked:
                continue
            took = _seconds(stages[run.checkpoint_key])
            asked += took
            place: object = run.checkpoint_key
            if run.position == "target":
                of_target = took
            elif recipe is not None:
                (stage,) = recipe.routes[0].intermediate
                # Whoever trains the longest of these has the shorter ones on the way.
                place = (replace(stage, epochs=0), run.seed)
            distinct[place] = max(distinct.get(place, 0.0), took)
        return of_target

    of_direct = [add(of_run, None) for of_run in direct.values()]
    before = asked
    of_target = [add(runs[trial], ours.recipes[trial]) for trial in trials]
    paired = asked - before + sum(of_target) + (len(recipes) - len(trials)) * fmean(of_direct)
    wall = ours.direct.wall[0] + sum(ours.clock.wall[trial] for trial in trials)
    within = sum(ours.within[:count]) + sum(ours.within[count + trial] for trial in trials)
    distinct_seconds = sum(distinct.values())
    return _Bill(wall, paired, asked, trained, distinct_seconds, wall - within, models, updates)


def _seconds(stage: TrainedStage) -> float:
    """From the stage's parent on, whatever part of it was there already."""
    return stage.training_seconds + stage.scoring_seconds


def _building_seconds(ours: Ours) -> float:
    """What building one model takes: the ledger counts from the first update on."""
    objective = ours.objective
    backbone = objective.backbone(ours.space.backbones[0])
    task = objective.catalogue[ours.space.target_tasks[0].name]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        build_model(backbone, backbone.weights, task, 0)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def _seed_spread(ours: Ours, compared: int, quick: bool) -> tuple[float, float]:
    """Mean absolute difference between two seeds of a recipe, and the standard deviation.

    In points of F1, over the first recipes with an intermediate stage.
    """
    count, seeds = (2, (1,)) if quick else (6, (1, 2))
    scores: dict[Recipe, list[float]] = {}
    trials = [x for x in map(_trial_of, range(compared)) if x is not None]
    for recipe, score in zip((ours.recipes[x] for x in trials), ours.scores, strict=False):
        if len(scores) < count:
            scores.setdefault(recipe, [100 * score])
    for recipe, found in scores.items():
        found += [100 * ours.score(recipe, seed) for seed in seeds]
        print(f"seeds: {[round(score, 1) for score in found]}", file=sys.stderr, flush=True)
    gaps = [abs(a - b) for found in scores.values() for a, b in combinations(found, 2)]
    return fmean(gaps), fmean(map(stdev, scores.values()))


def _warm_up(ours: Ours, peer: Peer) -> None:
    """What is compiled or allocated on first use is nobody's trial."""
    target = replace(any_stage(ours.space.target, ours.space.target_tasks[0].name), epochs=1)
    backbone = ours.space.backbones[0]
    ours.score(Recipe(backbone, "", (Route((), target),)), WARM_UP_SEED)
    peer.score(peer.train(peer.pretrained(target, WARM_UP_SEED), target, WARM_UP_SEED))


def _sizes(space: SearchSpace, languages: frozenset[str]) -> str:
    parts = [
        f"{name} {choices.examples[0]} examples, epochs {list(choices.epochs)}, "
        f"rates {list(choices.learning_rate)}"
        for name, choices in (("intermediate", space.intermediate), ("target", space.target))
    ]
    return f"{'; '.join(parts)}; scored on {', '.join(sorted(languages))}"


if __name__ == "__main__":
    run_as_command(main)
