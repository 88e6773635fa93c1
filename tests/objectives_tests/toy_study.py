"""A toy study, and what its trials tell: shared by the tests of corpora, trials and mixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from objectives.gains.transfer_gain import TransferGain
from objectives.transfer import TransferObjective
from spaces.recipe import Recipe, Route, Stage
from storage.tables import StageRun

STUDY = """
question = "Does a toy help?"
arms = ["none", "legal"]
backbone = "set by the test"

[intermediate]
tasks = ["deeds"]
epochs = 1
learning_rate = 1e-3

[target]
tasks = ["names", "news"]
languages = ["swa", "yor"]
epochs = 1
learning_rate = 1e-3

[tasks.names]
kind = "ner"
domain = "general"
role = "target"
title = "Names"
languages = ["eng", "swa", "yor"]
labels = ["PER", "LOC"]
metric = "span_f1"
licence = "none"
urls = {data = "https://example.org", licence = "https://example.org"}
files = ["names/{language}/{split}.conll"]

[tasks.deeds]
kind = "ner"
domain = "legal"
role = "intermediate"
title = "Deeds"
languages = ["eng"]
labels = ["PER", "LOC"]
metric = "span_f1"
licence = "none"
urls = {data = "https://example.org", licence = "https://example.org"}
files = ["deeds/{language}/{split}.conll"]

[tasks.news]
kind = "classification"
domain = "general"
role = "target"
title = "News"
languages = ["eng", "swa"]
labels = ["sport", "law", "health"]
unscored_labels = ["religion"]
metric = "accuracy"
licence = "none"
urls = {data = "https://example.org", licence = "https://example.org"}
files = ["news/{language}/{split}.tsv"]

[tasks.acts]
kind = "classification"
domain = "legal"
role = "intermediate"
title = "Acts"
languages = ["eng"]
labels = ["sport", "law", "health"]
metric = "accuracy"
licence = "none"
urls = {data = "https://example.org", licence = "https://example.org"}
files = ["acts/{language}/{split}.tsv"]

[tasks.rulings]
kind = "mlm"
domain = "legal"
role = "intermediate"
title = "Rulings"
languages = ["eng"]
licence = "none"
urls = {data = "https://example.org", licence = "https://example.org"}
files = ["rulings/{language}/{split}.txt"]

[tasks.sentences]
kind = "retrieval"
domain = "general"
role = "target"
title = "Sentences"
languages = ["swa", "yor"]
metric = "accuracy"
licence = "none"
urls = {data = "https://example.org", licence = "https://example.org"}
files = [{path = "sentences/{language}/{split}.{side}"}]
"""
EXAMPLES = 12


@dataclass
class Outcome:
    """What a trial found, and the stages that it told of."""

    stage_runs: list[StageRun] = field(default_factory=list)
    gain: TransferGain = field(init=False)


def run(
    objective: TransferObjective,
    recipe: Recipe,
    report: Callable[[int, Sequence[float]], bool] = lambda index, gains: True,
) -> Outcome:
    """Run a trial."""
    outcome = Outcome()
    outcome.gain = objective(recipe, report, outcome.stage_runs.append)
    return outcome


def trained(outcome: Outcome) -> list[tuple[str, str]]:
    """Position and task of the stages that were not found, as they were finished."""
    return [(run.position, run.task) for run in outcome.stage_runs if run.updates_trained]


def with_row(recipe: Recipe, *row: Stage) -> Recipe:
    """The recipe with other intermediate stages before each target; without any, the arm none."""
    name = row[0].task if row else ""
    routes = tuple(replace(route, intermediate=row) for route in recipe.routes)
    return replace(recipe, intermediate=name, routes=routes)


def with_targets(recipe: Recipe, *targets: Stage) -> Recipe:
    """The recipe with other targets, each after the same intermediate stages."""
    row = recipe.routes[0].intermediate
    return replace(recipe, routes=tuple(Route(row, target, target) for target in targets))
