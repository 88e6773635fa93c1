"""The model card of an exported model: what it is, what it gains, and what is not known of it.

Metadata as the Hugging Face Hub reads it (https://huggingface.co/docs/hub/model-cards); no
licence is named, which only the one who publishes can choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from objectives.models import Backbone
from search.evidence import Choice
from search.results import StudyResults
from spaces.catalogue import Metric, Task
from spaces.recipe import Route

# Metric -> its identifier on the Hub, where it has one, and its name.
_METRICS = {
    Metric.SPAN_F1: ("f1", "F1 of spans"),
    Metric.ACCURACY: ("accuracy", "accuracy"),
    Metric.MACRO_F1: ("f1", "macro F1"),
    Metric.SPEARMAN: ("spearmanr", "Spearman's correlation"),
    Metric.EM_F1: ("em_f1", "mean of exact match and F1"),
    Metric.BUCC_F1: ("f1", "F1 of sentence pairs"),
}


@dataclass(frozen=True)
class ExportedModel:
    """What the card is about.

    Attributes:
        results: Of the study.
        choice: The recipe, and why this one.
        task: The target task.
        route: The stages that were trained.
        seed: Of all of them.
        backbone: The encoder they began with.
        class_name: Of the model, as in `BertForTokenClassification`.
        command: The words that made it.
        versions: Of the program and its libraries.
        source: Where the corpora came from, for people.
    """

    results: StudyResults
    choice: Choice
    task: Task
    route: Route
    seed: int
    backbone: Backbone
    class_name: str
    command: str
    versions: Mapping[str, str]
    source: str

    @property
    def corpora(self) -> list[Task]:
        """The tasks that it was trained on, in order, each once."""
        catalogue, names = self.results.catalogue, []
        for stage in (*self.route.intermediate, self.route.target):
            names += [part.task for part in stage.parts] or [stage.task]
        trained = [catalogue.training_task(catalogue[name]) for name in dict.fromkeys(names)]
        return [task for task in dict.fromkeys(x.name for x in trained) if task] and [
            catalogue[name] for name in dict.fromkeys(x.name for x in trained)
        ]
