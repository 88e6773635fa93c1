"""One training in a process of its own: what an update costs, and the process's peak memory.

Run by `finetune` and `mlm` with a JSON object of a `Job`, also against another checkout of this
project, so that of the project it imports nothing but the training loop and what that takes.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaConfig,
)

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.hardware import Hardware, choose_hardware, keep_freed_memory
from objectives.models.encoders import quiet_libraries
from objectives.runner import Runner
from objectives.training.fine_tuning import finetune
from spaces.recipe import Schedule, Stage
from tests.benchmarks.as_command import run_as_command

BATCH_SIZE = 16
LEARNING_RATE = 5e-5
WARMUP_RATIO = 0.1
MASK_SHARE = 0.15
# Special ids of FacebookAI/xlm-roberta-base and answerdotai/ModernBERT-base.
SHAPES: dict[str, dict[str, int]] = {
    "xlm-r": {"cls": 0, "pad": 1, "sep": 2, "unk": 3, "mask": 250_001},
    "modernbert": {"unk": 50_280, "cls": 50_281, "sep": 50_282, "pad": 50_283, "mask": 50_284},
}
SIZES = {"xlm-r": 250_002, "modernbert": 50_368}
OUR_WAY, GROUPED = "ours", "Trainer, grouped by length"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        kind: ner or mlm.
        way: `OUR_WAY`, or a way of Trainer.
        encoder: Folder of an encoder, or one of `SHAPES`, with random weights.
        layers: Layers of a shape; 0 for as many as it has.
        data: File of `save_examples`.
        updates: Updates of a full batch.
        precision: As of `--precision`.
        threads: Threads of the process.
        seed: Random seed of the training.
        model: Folder that the trained model is written to; empty for none.
    """

    kind: str
    way: str
    encoder: str
    layers: int
    data: str
    updates: int
    precision: str
    threads: int
    seed: int
    model: str = ""


def save_examples(split: EncodedSplit, tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    """Write the examples of an NER task for any encoder."""
    fields = {
        "input_ids": split.input_ids,
        "token_type_ids": split.token_type_ids,
        "labels": split.labels,
        "word_positions": split.word_positions,
    }
    special = {"cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id}
    file.write_bytes(pickle.dumps((fields, len(split), special)))


def main() -> None:
    """Run the training and print what it took."""
    job = Job(**json.loads(sys.argv[1]))
    quiet_libraries()
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    tokenizer, model, examples = _parts(job)
    stamps: list[float] = []
    if job.way == OUR_WAY:
        keep_freed_memory()
        losses = _train_ours(job, tokenizer, model, examples, stamps)
    else:
        losses = _train_peer(job, tokenizer, model, examples, stamps)
    if job.model:
        model.save_pretrained(job.model)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    # The first update makes what all others use again.
    seconds = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    found = {"updates": len(stamps), "cpu_seconds": seconds, "peak_mb": peak / 1024}
    print(json.dumps(found | {"loss": losses}))


def _parts(job: Job) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, EncodedSplit]:
    fields, examples, special = pickle.loads(Path(job.data).read_bytes())
    count = min(examples, job.updates * BATCH_SIZE)
    fields = {name: x and x[:count] for name, x in fields.items()}
    labels = 1 + max(int(max(x)) for x in fields["labels"])
    kind = AutoModelForTokenClassification if job.kind == "ner" else AutoModelForMaskedLM
    options: dict[str, Any] = {"num_labels": labels} if job.kind == "ner" else {}
    if job.kind == "mlm":
        fields |= {"labels": None, "word_positions": None}
    if job.encoder in SHAPES:
        tokenizer = _tokenizer_of_shape(job.encoder)
        model = cast(Any, kind).from_config(_shape(job, options))
        fields["token_type_ids"] = None
        fields["input_ids"] = _other_ids(fields["input_ids"], job.encoder, special)
    else:
        tokenizer = AutoTokenizer.from_pretrained(job.encoder)
        model = kind.from_pretrained(job.encoder, dtype=torch.float32, **options)
    return tokenizer, model, EncodedSplit(**fields, gold=[None] * count)


def _shape(job: Job, options: dict[str, Any]) -> PretrainedConfig:
    """XLM-R base or ModernBERT base, with fewer layers if so asked."""
    if job.layers:
        options["num_hidden_layers"] = job.layers
    if job.encoder == "modernbert":
        return ModernBertConfig(**options)
    return XLMRobertaConfig(
        vocab_size=SIZES["xlm-r"], max_position_embeddings=514, type_vocab_size=1, **options
    )


def _tokenizer_of_shape(shape: str) -> PreTrainedTokenizerBase:
    """What collators ask a tokenizer for: ids, and how to pad."""
    special = SHAPES[shape]
    vocabulary = {f"t{number}": number for number in range(SIZES[shape])}
    for name, number in special.items():
        del vocabulary[f"t{number}"]
        vocabulary[f"[{name}]"] = number
    words = tokenizers.models.WordLevel(vocabulary, unk_token="[unk]")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words),
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": f"[{name}]" for name in special},
    )


def _other_ids(
    texts: list[NDArray[np.int64]], shape: str, special: dict[str, int]
) -> list[NDArray[np.int64]]:
    """The same sub-words under ids from all over a larger vocabulary."""
    taken = SHAPES[shape]
    free = np.setdiff1d(np.arange(SIZES[shape]), [*taken.values()])
    largest = max(int(text.max()) for text in texts)
    ids = np.random.default_rng(0).permutation(free)[: largest + 1]
    for name, number in special.items():
        ids[number] = taken[name]
    return [ids[text] for text in texts]


def _train_ours(
    job: Job,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    examples: EncodedSplit,
    stamps: list[float],
) -> float:
    stage = Stage(
        *("panx", 1, LEARNING_RATE, BATCH_SIZE, len(examples)),
        *(WARMUP_RATIO, 128, Schedule.LINEAR),
    )
    hardware = choose_hardware("cpu", job.precision)

    def stamp(done: int, total: int) -> None:
        stamps.append(time.process_time())

    runner = Runner(hardware, Padding.of(tokenizer), stamp)
    losses = finetune([(model, examples)], stage, job.seed, runner).losses
    return float(np.mean(losses))


def _train_peer(
    job: Job,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    examples: EncodedSplit,
    stamps: list[float],
) -> float:
    """What a careful user of Trainer writes."""
    collator: Any
    if job.kind == "ner":
        collator, rows = DataCollatorForTokenClassification(tokenizer), trainer_rows(examples)
    else:
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASK_SHARE)
        rows = [{"input_ids": ids.tolist()} for ids in examples.input_ids]

    class Stamp(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.process_time())

    trainer = train_with_trainer(
        model,
        rows,
        collator,
        choose_hardware("cpu", job.precision),
        callbacks=[Stamp()],
        num_train_epochs=1,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_RATIO,
        lr_scheduler_type="linear",
        seed=job.seed,
        train_sampling_strategy="group_by_length" if job.way == GROUPED else "random",
    )
    return float(trainer.state.log_history[-1]["train_loss"])


def trainer_rows(split: EncodedSplit) -> list[dict[str, list[int]]]:
    """Examples with labels as Trainer takes them."""
    assert split.labels is not None
    return [
        {"input_ids": ids.tolist(), "labels": np.asarray(labels).tolist()}
        for ids, labels in zip(split.input_ids, split.labels, strict=True)
    ]


def train_with_trainer(
    model: PreTrainedModel,
    rows: list[dict[str, list[int]]],
    collator: Any,
    hardware: Hardware,
    callbacks: list[TrainerCallback] | None = None,
    **options: Any,
) -> Trainer:
    """Train with transformers' Trainer, which saves, logs and reports nothing."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            bf16=hardware.precision == "bfloat16",
            use_cpu=hardware.device.type == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **options,
        )
        trainer = Trainer(
            model, arguments, data_collator=collator, train_dataset=rows, callbacks=callbacks
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer


def job_text(job: Job) -> str:
    """What `main` reads."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    run_as_command(main)
