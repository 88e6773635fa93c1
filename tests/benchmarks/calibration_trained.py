"""Small studies that are really trained, on pocket corpora whose truth is planted.

Entities are the target. One intermediate corpus helps (`ner_parties`), one hurts (`ner_assay`), by
`objectives.pocket.effects`. Each is trained with many seeds, and so is the target without either.
From these trainings studies of a few fresh seeds each are drawn without replacement, on the test
splits, and judged by `search.findings.judging`, as `search.confirm` does:

- Planted: both corpora against none, each pair with one seed on both sides. Does the verdict find
  the one that helps, and call the one that hurts harmful?
- Null: none against none, twice, with seeds of their own on every side. There the truth is known
  to be 0, so this also says how often intervals hold it.

Trainings are dealt out again and again (`DEALS`), since few studies would say little of a rate:
studies of one deal share no training, those of different deals do, so `n` has both.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from objectives.gains.rules import Rules, Verdict
from objectives.gains.transfer_gain import TransferGain
from objectives.hardware import keep_freed_memory
from objectives.models.encoders import quiet_libraries
from objectives.transfer import TransferObjective
from search.findings.judging import Estimates, estimate_recipes, judge_estimates
from search.findings.verdicts import Verdicts
from storage.tables import PairedScore, Score
from tests.benchmarks.pocket_trainings import pocket_objective, pocket_recipe

HELPFUL, HARMFUL, TARGET = "ner_parties", "ner_assay", "ner"
EXAMPLES = 160
FIRST_SEED = 100
"""Others than those by which the two corpora were chosen (`tests.benchmarks.planted`)."""
SIDES = 3  # of a null study: two arms and what they are held against

Training = Sequence[Score]
"""The scores of one training, a language each."""
Studies = list[tuple[Verdicts, Estimates]]
"""The verdicts of each study, and the estimates behind them with intervals of 95 % each."""


@dataclass(frozen=True)
class Size:
    """How much is trained.

    Attributes:
        planted: Seeds of the two corpora and of their baselines.
        more_none: Further seeds without an intermediate corpus, for null studies.
        seeds: Of a study; a design each.
        deals: How often trainings are dealt out to studies.
    """

    planted: int
    more_none: int
    seeds: tuple[int, ...]
    deals: int


FULL = Size(planted=40, more_none=80, seeds=(3, 5, 8), deals=10)
QUICK = Size(planted=3, more_none=6, seeds=(3,), deals=1)


def run_trained(size: Size, seed: int, threads: int, cache: Path | None) -> dict[str, Any]:
    """Train, judge and count: what goes under `trained` into the JSON line.

    Args:
        size: How much.
        seed: Of the dealing.
        threads: Of the CPU.
        cache: Where checkpoints and scores are kept, so that a repeat trains nothing; a folder
            that is thrown away where none is named.
    """
    quiet_libraries()
    keep_freed_memory()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        pocket_objective(
            (HELPFUL, HARMFUL), TARGET, cache or Path(folder), cache, "auto"
        ) as objective,
    ):
        planted = range(FIRST_SEED, FIRST_SEED + size.planted)
        sides: dict[str, list[Training]] = {}
        for arm in (HELPFUL, HARMFUL):
            sides[arm], sides["none"] = _train(objective, arm, planted, start)
        more = range(planted.stop, planted.stop + size.more_none)
        none = sides["none"] + _train(objective, None, more, start)[0]
        designs = []
        for seeds in size.seeds:
            found = _studies(objective, sides, none, seeds, size.deals, seed)
            designs.append(_row(seeds, *found, size))
            print(f"{time.perf_counter() - start:.0f} s", designs[-1], file=sys.stderr)
    best = designs[-1]
    return {
        "power": best["best"],
        "harmful": best["harmful"],
        "false_positive_rate": round(
            sum(x["false_positive_rate"] * x["null_studies"] for x in designs)
            / sum(x["null_studies"] for x in designs),
            3,
        ),
        "coverage": round(
            sum(x["coverage"] * x["null_intervals"] for x in designs)
            / sum(x["null_intervals"] for x in designs),
            3,
        ),
        "n": {
            "trainings": 2 * size.planted + len(none),
            "planted_studies": sum(x["planted_studies"] for x in designs),
            "null_studies": sum(x["null_studies"] for x in designs),
        },
        "gains": {arm: _of_seeds(sides[arm], sides["none"]) for arm in (HELPFUL, HARMFUL)},
        "designs": designs,
        "seconds": round(time.perf_counter() - start, 1),
    }


def show_trained(result: dict[str, Any]) -> None:
    """Print a column per design."""
    print("\ntrained studies (pocket corpora); shares of studies, or of intervals")
    for name in result["designs"][0]:
        print(f"{name:>20}" + "".join(f"{row[name]:>9}" for row in result["designs"]))


def _train(
    objective: TransferObjective, arm: str | None, seeds: Sequence[int], start: float
) -> tuple[list[Training], list[Training]]:
    """Trainings with an intermediate corpus, and without, of each seed on the test splits."""
    recipe, direct = (pocket_recipe(x, TARGET, EXAMPLES) for x in (arm, None))
    pairs = objective.confirm(recipe, {recipe.routes[0].target.task: direct}, seeds).pairs
    print(f"{time.perf_counter() - start:.0f} s {arm or 'none'}: {len(seeds)}", file=sys.stderr)
    languages = objective.spec.selection_languages(objective.catalogue)
    pairs = tuple(pair for pair in pairs if pair.score.language in languages)
    return (
        [[x.score for x in pairs if x.seed == seed] for seed in seeds],
        [[x.baseline for x in pairs if x.seed == seed and x.baseline] for seed in seeds],
    )


def _studies(
    objective: TransferObjective,
    sides: dict[str, list[Training]],
    none: list[Training],
    seeds: int,
    deals: int,
    seed: int,
) -> tuple[Studies, Studies]:
    """The verdicts of planted and of null studies."""
    rng = np.random.default_rng([seed, seeds])
    planted: Studies = []
    null: Studies = []
    for _ in range(deals):
        for block in _dealt(rng, len(sides["none"]), seeds):
            helpful, harmful, direct = (
                [sides[arm][i] for i in block] for arm in (HELPFUL, HARMFUL, "none")
            )
            planted.append(_judged(objective, [helpful, harmful], direct))
        for block in _dealt(rng, len(none), SIDES * seeds):
            parts = [[none[i] for i in block[k::SIDES]] for k in range(SIDES)]
            null.append(_judged(objective, parts[1:], parts[0]))
    return planted, null


def _dealt(rng: np.random.Generator, count: int, size: int) -> list[list[int]]:
    order = rng.permutation(count).tolist()
    return [order[i : i + size] for i in range(0, count - size + 1, size)]


def _judged(
    objective: TransferObjective, arms: Sequence[list[Training]], direct: list[Training]
) -> tuple[Verdicts, Estimates]:
    """The verdicts on arms, numbered as they come, against the same trainings without."""
    gains = {
        number: TransferGain(
            tuple(
                PairedScore(place, score, zero, zero)
                for place, (mine, without) in enumerate(zip(trainings, direct, strict=True))
                for score, zero in zip(mine, without, strict=True)
            )
        )
        for number, trainings in enumerate(arms)
    }
    languages = {score.language for score in direct[0]}
    found = estimate_recipes(gains, objective.ledger, objective.catalogue, languages)
    return judge_estimates(found, Rules((len(direct),))), found


def _row(seeds: int, planted: Studies, null: Studies, size: Size) -> dict[str, Any]:
    """One design, shares in [0, 1]."""
    arms = [[verdict.gain for verdict in verdicts.recipes] for verdicts, _ in planted]
    nothing = [[x.gain for x in v.recipes] + [x.gain for x in v.cells] for v, _ in null]
    found = [
        helpful.verdict is Verdict.HELPS and helpful.points > harmful.points
        for helpful, harmful in arms
    ]
    hurt = [harmful.verdict is Verdict.HURTS for _, harmful in arms]
    wrong = [harmful.verdict is Verdict.HELPS for _, harmful in arms]
    wrong_too = [helpful.verdict is Verdict.HURTS for helpful, _ in arms]
    false = [any(gain.verdict is not Verdict.UNDECIDED for gain in gains) for gains in nothing]
    intervals = [
        x.estimate.interval
        for _, estimates in null
        for x in (*estimates.recipes.values(), *estimates.cells.values())
        if x.estimate.interval is not None
    ]
    covered = [low <= 0 <= high for low, high in intervals]
    return {
        "seeds": seeds,
        "planted_studies": len(planted),
        "of_one_deal": len(planted) // size.deals,
        "best": round(fmean(found), 3),
        "harmful": round(fmean(hurt), 3),
        "opposite": round(fmean([*wrong, *wrong_too]), 3),
        "detectable_best": round(median(helpful.detectable or 0.0 for helpful, _ in arms), 1),
        "detectable_harmful": round(median(x.detectable or 0.0 for _, x in arms), 1),
        "null_studies": len(null),
        "null_of_one_deal": len(null) // size.deals,
        "false_positive_rate": round(fmean(false), 3),
        "null_intervals": len(intervals),
        "coverage": round(fmean(covered), 3),
    }


def _of_seeds(trainings: list[Training], none: list[Training]) -> dict[str, float]:
    """What a corpus really brings, over all of its seeds, percentage points."""
    gains = [
        100 * fmean(x.score - y.score for x, y in zip(mine, without, strict=True))
        for mine, without in zip(trainings, none, strict=True)
    ]
    return {"mean": round(fmean(gains), 1), "sd": round(stdev(gains), 1), "seeds": len(gains)}
