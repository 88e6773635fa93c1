"""All recipes of a small study on real corpora, trained once: the truth of a simulation.

The study is `xtreme_legal` cut to entities, with the sizes of `study_cost`: six intermediate tasks
at two lengths and two rates, before a target stage of four rates. Every recipe is trained with a
few seeds, and its mean score over two languages kept, one line of JSON each, so that a table that
was cut off goes on where it stopped.

A mean of two or three runs is partly luck, and the best of 100 such means is a lucky one. So what
is taken for the truth are shrunken means: each recipe's mean is drawn towards what its choices
come to without interactions (least squares), by as much as seeds scatter. The seeds' own scatter
is then the noise of the simulated runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.data.choosing import choose_source
from search.studies.direct_trainings import RATE
from search.surrogate.recipe_table import RecipeTable, build_table
from spaces.catalogue import Catalogue, load_catalogue
from spaces.dimensions import SearchSpace, search_space
from spaces.errors import DataError
from spaces.recipe import Recipe
from spaces.studies import StudySpec, load_study
from spaces.study_checks import check_study
from tests.benchmarks.pocket_trainings import objective_of

Floats = NDArray[np.float64]

SHIPPED = "xtreme_legal"
TASKS = ("uner_ewt", "wikigold", "bc5cdr", "ncbi_disease", "e_ner", "inlegalner")
LANGUAGES = ("swa", "tgl")
STUDY = (
    f"intermediate.tasks={json.dumps(TASKS)}",
    'target.tasks=["panx"]',
    f"target.languages={json.dumps(LANGUAGES)}",
    "intermediate.examples=48",
    "intermediate.epochs=[5,10]",
    "intermediate.learning_rate=[1.5e-4,5e-4]",
    "target.examples=200",
    "target.epochs=2",
    "target.learning_rate=[1e-4,2e-4,4e-4,8e-4]",
)
TABLE = Path(__file__).with_name("regret_table.jsonl")
"""What was trained with MiniLM-L6, bfloat16, on a CPU."""
MORE_DIRECT_SEEDS = 3
"""Seeds of direct trainings beyond those of the others, which are all held against these."""

Key = tuple[int, int]
"""Row of a recipe, and seed."""


def regret_study(catalogue: Catalogue, backbone: str = "unused") -> StudySpec:
    """The study whose recipes are all trained."""
    spec = load_study(SHIPPED, [*STUDY, f"backbone={json.dumps(backbone)}"])
    check_study(spec, catalogue)
    return spec


def regret_space() -> SearchSpace:
    """Its search space, of corpora that are large enough."""
    catalogue = load_catalogue()
    spec = regret_study(catalogue)
    return search_space(spec, catalogue, dict.fromkeys(spec.task_names, 5000))


def train_table(file: Path, data: str, backbone: str, seeds: int, precision: str) -> None:
    """Train what the file has not yet, a line for each run; the first seed of all comes first.

    Args:
        file: Table, which is added to.
        data: Folder of corpora.
        backbone: Folder of an encoder.
        seeds: Of each recipe.
        precision: As of `--precision`.
    """
    known = read_table(file)
    table = build_table(regret_space())
    wanted = [
        (row, seed)
        for seed in range(seeds + MORE_DIRECT_SEEDS)
        for row in range(len(table))
        if seed < seeds or table.task[row] < 0
    ]
    missing = [key for key in wanted if key not in known]
    catalogue = load_catalogue()
    started = time.process_time()
    # Checkpoints take gigabytes, and only runs of one task and seed share any.
    for place in dict.fromkeys((int(table.task[row]), seed) for row, seed in missing):
        mine = [x for x in missing if (int(table.task[x[0]]), x[1]) == place]
        with (
            tempfile.TemporaryDirectory() as name,
            objective_of(
                regret_study(catalogue, backbone),
                *(catalogue, choose_source(data), Path(name), None, precision),
            ) as objective,
        ):
            for row, seed in mine:
                recipe = table.points[row].recipe
                pairs = objective(_of(recipe, backbone), seed, lambda run: None)
                score = 100 * fmean(x.score.score for x in pairs)
                _append(file, {"recipe": recipe_words(table, row), "seed": seed, "score": score})
                print(
                    f"{time.process_time() - started:6.0f} s CPU {recipe_words(table, row)} "
                    f"seed {seed}: {score:.1f}",
                    file=sys.stderr,
                    flush=True,
                )


def _of(recipe: Recipe, backbone: str) -> Recipe:
    return Recipe(backbone, recipe.intermediate, recipe.routes)


def _append(file: Path, row: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({**row, "score": round(row["score"], 2)}) + "\n")


def recipe_words(table: RecipeTable, row: int) -> str:
    """A recipe as its line has it: task, epochs, rate, target rate."""
    params = table.params[row]
    task = table.points[row].recipe.intermediate or "none"
    names = ("intermediate.epochs", "intermediate.learning_rate", "target.learning_rate")
    return " ".join((task, *(f"{params[name]:g}" for name in names if name in params)))


def read_table(file: Path) -> dict[Key, float]:
    """(row, seed) -> score, percent; nothing where there is no file."""
    if not file.exists():
        return {}
    table = build_table(regret_space())
    rows = {recipe_words(table, row): row for row in range(len(table))}
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {(rows[x["recipe"]], x["seed"]): x["score"] for x in lines}


@dataclass(frozen=True)
class Truth:
    """What a table says of its recipes; r of them.

    Attributes:
        table: The recipes.
        scores: Shrunken means, percent, [r].
        means: Means over seeds as they were measured, [r].
        noise: Standard deviation of a run about its recipe, points.
        own_sd: Of what recipes have of their own beyond their choices, points.
        runs: Lines of the table.
    """

    table: RecipeTable
    scores: Floats
    means: Floats
    noise: float
    own_sd: float
    runs: int


def fit_truth(file: Path) -> Truth:
    """The truth that a table stands for.

    Raises:
        DataError: A recipe is missing.
    """
    known, table = read_table(file), build_table(regret_space())
    by_recipe: dict[int, list[float]] = defaultdict(list)
    for (row, _seed), score in known.items():
        by_recipe[row].append(score)
    if len(by_recipe) < len(table):
        raise DataError(
            str(file),
            f"a line of each of {len(table)} recipes",
            f"of {len(by_recipe)}",
            "train the rest: --table FILE --data DIR --backbone ENCODER",
        )
    counts = np.array([len(by_recipe[row]) for row in range(len(table))])
    means = np.array([fmean(by_recipe[row]) for row in range(len(table))])
    squares = sum((x - means[row]) ** 2 for row, scores in by_recipe.items() for x in scores)
    noise = float(np.sqrt(squares / (counts - 1).sum()))
    design = _choices(table)
    fitted = design @ np.linalg.lstsq(design, means, rcond=None)[0]
    free = len(table) - np.linalg.matrix_rank(design)
    left = ((means - fitted) ** 2).sum() / free - (noise**2 / counts).mean()
    own = float(max(0.0, left))
    kept = own / (own + noise**2 / counts)
    return Truth(
        table, fitted + kept * (means - fitted), means, noise, float(np.sqrt(own)), len(known)
    )


def _choices(table: RecipeTable) -> Floats:
    """A column for each value of each choice, [r, columns]."""
    values = [{"intermediate.task": "", **params} for params in table.params]
    names = ("intermediate.task", "intermediate.epochs", "intermediate.learning_rate", RATE)
    columns = [
        [float(of_row.get(name) == value) for of_row in values]
        for name in names
        for value in dict.fromkeys(x[name] for x in values if name in x)
    ]
    return np.array(columns).T
