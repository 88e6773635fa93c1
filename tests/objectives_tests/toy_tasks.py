"""Records of toy tasks; nothing here needs torch."""

from __future__ import annotations

from spaces.task import Task

LABELS = {
    "ner": ("PER", "LOC"),
    "pos": ("NOUN", "VERB", "PROPN"),
    "classification": ("sport", "law", "health"),
    "sentiment": ("positive", "negative"),
    "nli": ("entailment", "neutral", "contradiction"),
    "pair_classification": ("same", "other"),
}
METRICS = {
    "ner": "span_f1",
    "pos": "span_f1",
    "similarity": "spearman",
    "mlm": None,
    "qa": "em_f1",
}


def make_task(kind: str, **changes: object) -> Task:
    """A catalogue record of a kind, with changes."""
    record: dict[str, object] = {
        "name": f"toy_{kind}",
        "kind": kind,
        "domain": "general",
        "role": "both",
        "title": f"Toy {kind}",
        "languages": ["eng", "swa", "yor"],
        "labels": LABELS.get(kind, ()),
        "metric": METRICS.get(kind, "accuracy"),
        "answers": "squad" if kind == "qa" else None,
        "licence": "none",
        "urls": {"data": "here", "licence": "here"},
        "files": [f"{kind}/{{language}}/{{split}}.txt"],
    }
    return Task.model_validate(record | changes)
