"""The model card of an exported model: what it is, what it gains, and what is not known of it.

Metadata as the Hugging Face Hub reads it (https://huggingface.co/docs/hub/model-cards). It names
no licence: only those who publish a model can choose one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from objectives.backbone import Backbone
from search.command_line.markdown import code, fenced, md, md_table
from search.command_line.next_commands import StudyAddress, next_command
from search.findings.recommendation import Choice
from search.findings.test_splits import test_split_lines
from search.findings.verdict_words import parts_line, with_interval
from search.studies.stored_study import StoredStudy
from spaces.backbones import known_backbones
from spaces.recipe import Method, Route, Stage
from spaces.studies import Selection
from spaces.task import Metric, Task, TaskKind

# Metric -> its identifier on the Hub, where it has one, and its name.
_METRICS = {
    Metric.SPAN_F1: ("f1", "F1 of spans"),
    Metric.ACCURACY: ("accuracy", "accuracy"),
    Metric.MACRO_F1: ("f1", "macro F1"),
    Metric.SPEARMAN: ("spearmanr", "Spearman's correlation"),
    Metric.EM_F1: ("em_f1", "mean of exact match and F1"),
    Metric.BUCC_F1: ("f1", "F1 of sentence pairs"),
}
_CLASSES = {
    "token-classification": "AutoModelForTokenClassification",
    "text-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
}
_SOURCES = {
    "hub": "the Hugging Face Hub",
    "real": "real corpora, each from where the study's attribute `data_revisions` says",
    "local": "local files, known by the fingerprints in `recipe.json`",
    "pocket": "pocket corpora: generated text of invented languages, no real ones",
}


@dataclass(frozen=True)
class ExportedModel:
    """A model that is handed over, and all that its card says of it.

    Attributes:
        study: The study that it comes out of.
        choice: The recipe, and why this one.
        task: The target task.
        route: The stages that were trained.
        seed: Random seed shared by every stage.
        backbone: The encoder that the first stage began with.
        place: Folder, or name on the Hub, that it is loaded from.
        versions: Name -> version, of the program and its libraries.
    """

    study: StoredStudy
    choice: Choice
    task: Task
    route: Route
    seed: int
    backbone: Backbone
    place: str
    versions: Mapping[str, str]

    @property
    def steps(self) -> str:
        """As in `conll2003 -> panx`."""
        return " -> ".join(x.task for x in (*self.route.intermediate, self.route.target))

    @property
    def command(self) -> str:
        """The command that makes it, without the paths of a machine: a card is published.

        Whoever pastes it adds the storage and the folders that are theirs.
        """
        evidence = self.choice.evidence
        words = ["--task", self.task.name]
        if not evidence.is_baseline:
            words += ["--trial", str(evidence.trial)]
        words += ["--seed", str(self.seed), "--to", "DIR"]
        return next_command("export", self.address, *words)

    @property
    def address(self) -> StudyAddress:
        """How commands on the card reach the study: by its name alone."""
        return StudyAddress(self.study.name, self.study.name, storage="")

    @property
    def trained_on(self) -> list[Task]:
        """The tasks whose text it was trained on, in order."""
        catalogue, names = self.study.catalogue, []
        for stage in (*self.route.intermediate, self.route.target):
            for name in [part.task for part in stage.parts] or [stage.task]:
                if catalogue[name].kind.is_trained:
                    names.append(catalogue.training_task(catalogue[name]).name)
        return [catalogue[name] for name in dict.fromkeys(names)]

    @property
    def base_model(self) -> str | None:
        """The encoder's name on the Hub; None of one that came from a folder."""
        if (record := known_backbones().get(self.backbone.name)) is not None:
            return record.repository
        return self.backbone.name if self.backbone.revision else None


def model_card(model: ExportedModel) -> ModelCard:
    """The card, with the metadata of the Hub."""
    parts = [
        *_head(model),
        "## Gains",
        _gains(model),
        "## Limits",
        _listed(_limits(model)),
        "## How to use it",
        fenced(usage_example(model.task, model.route.target, model.place), "python"),
        "## How it was made",
        *_making(model),
        "## Licences",
        *_licences(model),
    ]
    return ModelCard(f"---\n{_metadata(model).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _metadata(model: ExportedModel) -> ModelCardData:
    study, task = model.study, model.task
    scores = model.choice.evidence.scores(task.name, model.seed)
    evaluated = [(score, study.catalogue[score.task]) for score in scores]
    on_hub = study.definition.source == "hub"
    hubs = [record.hub for record in (*model.trained_on, task) if record.hub]
    tags = ["transfer-search", "cross-lingual-transfer"]
    if model.route.intermediate:
        tags.append("intermediate-task-training")
    if study.is_pocket:
        tags.append("pocket-corpora")
    return ModelCardData(
        base_model=model.base_model,
        datasets=sorted({hub.repository for hub in hubs}) if on_hub else None,
        eval_results=[
            EvalResult(
                task_type=_pipeline(task),
                dataset_type=record.hub.repository if record.hub and on_hub else record.name,
                dataset_name=f"{record.title} ({score.language})",
                dataset_config=score.language,
                dataset_split=score.split,
                metric_type=_METRICS[Metric(score.metric)][0],
                metric_name=_METRICS[Metric(score.metric)][1],
                metric_value=round(score.score, 4),
            )
            for score, record in evaluated
        ],
        language=sorted({study.spec.source_language, *(score.language for score in scores)}),
        library_name="transformers",
        metrics=sorted({_METRICS[Metric(score.metric)][0] for score in scores}),
        model_name=f"{study.name}-{task.name}",
        pipeline_tag=_pipeline(task),
        tags=tags,
    )


def _pipeline(task: Task) -> str:
    if task.kind is TaskKind.QA:
        return "question-answering"
    if task.kind is TaskKind.RETRIEVAL:
        return "feature-extraction"
    return "token-classification" if task.kind.is_tagging else "text-classification"


def _head(model: ExportedModel) -> list[str]:
    study, evidence = model.study, model.choice.evidence
    parts = [f"# {md(model.task.title)}"]
    if study.is_pocket:
        parts.append(
            "**Pocket corpora.** It was trained and scored on generated text of invented "
            "languages: nothing here is about real ones."
        )
    encoder = code(model.base_model) if model.base_model else "An encoder of the user's own"
    parts.append(
        f"{encoder}, trained on {md(model.steps)}, in {study.spec.source_language} only. It "
        f"comes out of the study {code(study.name)}, which asked: {md(study.spec.question)}"
    )
    which = f"{'direct training' if evidence.is_baseline else 'trial'} {evidence.trial}"
    return [*parts, f"Why this recipe ({which}): {md(model.choice.reason)}."]


def _gains(model: ExportedModel) -> str:
    evidence, metric = model.choice.evidence, model.task.metric
    assert metric is not None, model.task.name
    own = {x.language: x for x in evidence.scores(model.task.name, model.seed)}
    seeds = f"{len(evidence.seeds)} seeds" if len(evidence.seeds) > 1 else "one seed"
    scores = f"{_METRICS[metric][1]} in percent, on {evidence.split} splits"
    if evidence.is_baseline:
        rows = []
        for language, x in own.items():
            place = (model.task.name, language)
            mean = fmean(p.score.score for p in evidence.pairs if p.score.place[2:4] == place)
            shown = [f"{100 * score:.1f}" for score in (x.score, mean)]
            rows.append([language, *shown, f"{x.examples:,}"])
        header = ["language", "this model", "mean over seeds", "examples"]
        return md_table(header, rows) + (
            f"\n\n{scores}; the mean is over {seeds}. It is direct training, which gains "
            f"are over, so it has none."
        )
    sure = evidence.confirmation is not None
    several = len({cell.task for cell in evidence.verdicts.cells}) > 1
    judged = [("mean of all targets" if several else "mean", evidence.verdict.gain)]
    judged += [
        (cell.language, cell.gain)
        for cell in evidence.verdicts.cells
        if cell.task == model.task.name
    ]
    rows = [
        [
            language,
            f"{100 * own[language].score:.1f}" if language in own else "",
            f"{gain.score:.1f}",
            f"{gain.against:.1f}",
            with_interval(gain, evidence.margin),
            *([str(gain.verdict)] if sure else []),
            f"{gain.examples:,}",
        ]
        for language, gain in judged
    ]
    level = "corrected interval" if sure else "95 % interval"
    header = ["language", "this model", "recipe", "direct training", f"gain [{level}]"]
    header += [*(["verdict"] if sure else []), "examples"]
    note = (
        f"{scores}. The recipe's are means over {seeds} "
        f"({', '.join(map(str, evidence.seeds))}); this model is seed {model.seed}. Gains are "
        f"percentage points over the best direct training. Intervals carry over to "
        f"{evidence.verdict.gain.scope}"
    )
    if not sure:
        return f"{md_table(header, rows)}\n\n{note}, each by itself."
    note += (
        f"; they and the verdicts are corrected for all looks and all that were judged together. "
        f"Equivalent: within {evidence.margin:g} points"
    )
    parts = parts_line(evidence.verdicts, evidence.paired, evidence.trial, evidence.margin)
    return f"{md_table(header, rows)}\n\n{note}.\n\nOf the gain, {parts}."


def _limits(model: ExportedModel) -> list[str]:
    study, evidence = model.study, model.choice.evidence
    limits = []
    most = ""
    if model.task.kind.is_trained:
        most = f" (at most {study.spec.target.validation_examples:,} examples a language)"
    if study.spec.selection is Selection.TARGET_VALIDATION:
        limits.append(
            f"The recipe was selected on validation splits of the target languages{most}: "
            "transfer is not zero-shot, as labels of these languages were used to choose."
        )
    else:
        limits.append(
            f"The recipe was selected on the validation split of the source language{most}."
        )
    if evidence.confirmation is None:
        limits.append(
            "**Not confirmed.** The figures above are those that the recipe was chosen by, so "
            "they are too high for it, and no verdict is given. "
            f"{code(next_command('confirm', model.address))} reads the test splits once, with "
            f"fresh seeds."
        )
    else:
        looks = len(study.confirmations)
        times = "once" if looks == 1 else f"{looks} times"
        limits.append(
            f"Confirmed on {evidence.confirmation.begun_at[:10]} with seeds that the search did "
            f"not have; the study was confirmed {times}."
        )
        limits += [f"{x[0].upper()}{x[1:]}." for x in test_split_lines(study)]
    limits.append(
        "Its scores are those that the same recipe and seed had in the study. Only scores are "
        "kept of target stages, so it was trained again; on other hardware the weights differ in "
        "rounding."
    )
    if model.task.halved:
        limits.append(
            f"{md(model.task.name)} has one evaluation split, of which half served as validation "
            f"and half as test split: the figures are no benchmark results."
        )
    if study.is_pocket:
        limits.append(
            "Pocket corpora: the figures show the program, no transfer between languages."
        )
    return limits


def usage_example(task: Task, stage: Stage, place: str) -> str:
    """Python that loads a model of a task from a place, and asks it something."""
    kind, auto, quoted = task.kind, _CLASSES[_pipeline(task)], json.dumps(place)
    cut = f'truncation=True, max_length={stage.max_length}, return_tensors="pt"'
    lines = [
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({quoted})",
        f"model = {auto}.from_pretrained({quoted}).eval()",
    ]
    if kind.is_tagging:
        lines += [
            'words = ["Words", "of", "a", "sentence"]',
            f"encoded = tokenizer(words, is_split_into_words=True, {cut})",
            "classes = model(**encoded).logits[0].argmax(-1).tolist()",
            "places = encoded.word_ids()",
            "for number, word in enumerate(words):  # a word has the label of its first sub-word",
            "    print(word, model.config.id2label[classes[places.index(number)]])",
        ]
    elif kind is TaskKind.QA:
        second = '="only_second"'
        lines += [
            'question, context = "Who wrote it?", "It was written by somebody."',
            f"encoded = tokenizer(question, context, {cut.replace('=True', second)})",
            "found = model(**encoded)",
            "start, end = found.start_logits.argmax().item(), found.end_logits.argmax().item()",
            'print(tokenizer.decode(encoded["input_ids"][0, start : end + 1]))',
        ]
    elif kind is TaskKind.RETRIEVAL:
        lines += [
            f'encoded = tokenizer(["A sentence.", "Another."], padding=True, {cut})',
            "layers = model(**encoded, output_hidden_states=True).hidden_states",
            'weights = encoded["attention_mask"].unsqueeze(-1)',
            f"vectors = (layers[{stage.pooled_layer}] * weights).sum(1) / weights.sum(1)",
            "print(vectors.shape)",
        ]
    else:
        paired = "text_b" in kind.columns
        texts = '"A text.", "Another."' if paired else '"A text."'
        lines.append(f"encoded = tokenizer({texts}, {cut})")
        if kind is TaskKind.SIMILARITY:
            lines.append("print(model(**encoded).logits.item())")
        else:
            lines.append("print(model.config.id2label[model(**encoded).logits.argmax(-1).item()])")
    return "\n".join(lines)


def _making(model: ExportedModel) -> list[str]:
    study = model.study
    header = ["stage", "task", "method", "epochs", "learning rate", "batch", "examples", "updates"]
    rows = [_stage_row("intermediate", stage) for stage in model.route.intermediate]
    rows.append(_stage_row("target", model.route.target))
    versions = ", ".join(f"{name} {number}" for name, number in model.versions.items())
    encoder = model.base_model or f"fingerprint {model.backbone.key[:16]}"
    return [
        md_table(header, rows),
        _listed(
            [
                f"Seed {model.seed} in all stages; each stage takes the encoder's weights from "
                f"the one before, and its head is fresh.",
                f"Encoder: {md(f'{encoder} {model.backbone.revision}')}.",
                f"Data: {_SOURCES[study.definition.source]}.",
                f"Precision: {study.definition.precision}. Versions: {versions}.",
                "`recipe.json` has all of it, for machines.",
            ]
        ),
        fenced(model.command, "sh"),
    ]


def _stage_row(position: str, stage: Stage) -> list[str]:
    if not stage.updates:
        return [position, md(stage.task), "as it is", "", "", "", "", ""]
    method = str(stage.method)
    if stage.method is Method.LORA:
        method += f", rank {stage.lora_rank}, merged"
    elif stage.frozen_layers:
        method += f", {stage.frozen_layers} layers frozen"
    return [
        *(position, md(stage.task), method, str(stage.epochs), f"{stage.learning_rate:g}"),
        *(str(stage.batch_size), f"{stage.examples:,}", f"{stage.updates:,}"),
    ]


def _licences(model: ExportedModel) -> list[str]:
    uses = {record.name: (record, "training") for record in model.trained_on}
    uses.setdefault(model.task.name, (model.task, "scoring"))
    rows = [[name, use, task.licence, task.urls["licence"]] for name, (task, use) in uses.items()]
    record = known_backbones().get(model.backbone.name)
    if record is not None:
        rows.append([record.repository, "encoder", record.licence, record.url])
    else:
        rows.append([model.base_model or "the encoder", "encoder", "not known here", ""])
    return [
        "**No licence is set.** Whoever publishes the model chooses one (`license:` above) that "
        "the licences of what it was made from allow; they are given as their pages state them.",
        md_table(["what", "for", "licence", "page"], [list(map(md, row)) for row in rows]),
    ]


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
