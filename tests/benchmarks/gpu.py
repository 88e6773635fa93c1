"""What a card makes of our training loop: one script for the day that there is one.

It needs torch, transformers, pydantic and, for the comparison with Trainer, accelerate; no
Optuna, no SQLAlchemy, no datasets, no corpus and no encoder: weights are random, of XLM-R base's
shape, and examples are random ids of the lengths of named entity corpora.

    python -m tests.benchmarks.gpu            # on one card, within 8 minutes
    python -m tests.benchmarks.gpu --smoke    # on a CPU, tiny: whether the script works

Sections: the device's matrix peak; sub-words a second, eager and as CUDA graphs, and their share
of that peak; transformers.Trainer, both in bfloat16; 1, 4 and 8 workers on the card, taking turns
and by MPS; a batch that memory has no room for; and whether CPU and card compute the same. Each
prints what it found at once, and the last line is JSON. A section that fails says so; so does one
that there is no time left for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel, XLMRobertaConfig, XLMRobertaForTokenClassification

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.hardware import Hardware, choose_hardware
from objectives.runner import Runner
from objectives.scores.metrics import predict
from objectives.training.device_path import DevicePath, path_of
from objectives.training.fine_tuning import Training, finetune
from objectives.training.graphs import Recording
from objectives.training.updates import TOKEN_BUDGET
from search.workers.card_sharing import multi_process_service
from spaces.errors import TransferSearchError
from spaces.recipe import Schedule, Stage

BATCH_SIZE = 16
TAGS = 7
MAX_LENGTH = 128
PADDING = Padding(1, 0, left=False, mask_id=None, special_ids=(0, 1, 2), vocabulary=250_002)


@dataclass(frozen=True)
class Setting:
    """How large everything is.

    Attributes:
        hardware: Device and precision that are measured.
        config: Shape of the encoder.
        matrix: Rows of the square matrices that the peak is measured with.
        updates: Updates of a short and of a long training.
        workers: Numbers of workers.
        until: When no further section is begun, by `time.monotonic`.
    """

    hardware: Hardware
    config: XLMRobertaConfig
    matrix: int
    updates: tuple[int, int]
    workers: tuple[int, ...]
    until: float

    @property
    def is_card(self) -> bool:
        """Whether a card is measured."""
        return self.hardware.device.type == "cuda"


def main() -> None:
    """Run the sections."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--smoke", action="store_true", help="tiny, on a CPU")
    options.add_argument("--limit", type=float, default=420.0, help="seconds; default: 420")
    options.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    setting = _setting(chosen.smoke, chosen.limit)
    if chosen.worker is not None:
        _work(setting, chosen.worker)
        return
    found: dict[str, Any] = {
        "benchmark": "gpu",
        "device": setting.hardware.name,
        "precision": setting.hardware.precision,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "smoke": chosen.smoke,
    }
    for name in chosen.sections:
        started = time.monotonic()
        if started > setting.until:
            found[name] = {"skipped": "no time left"}
        else:
            try:
                found[name] = SECTIONS[name](setting, found)
            except (TransferSearchError, RuntimeError, ImportError, OSError) as error:
                found[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(
            f"{name} ({time.monotonic() - started:.0f} s): {json.dumps(found[name])}", flush=True
        )
    print(json.dumps(found))


def _setting(smoke: bool, limit: float) -> Setting:
    until = time.monotonic() + limit
    if smoke:
        torch.set_num_threads(1)
        config = XLMRobertaConfig(
            vocab_size=1000,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=514,
        )
        return Setting(choose_hardware("cpu", "bfloat16"), config, 64, (12, 24), (1, 2), until)
    # facebook/xlm-roberta-base's own sizes.
    config = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
    hardware = choose_hardware("cuda", "bfloat16")
    return Setting(hardware, config, 8192, (100, 500), (1, 4, 8), until)


# --- what is trained


def _model(setting: Setting, *, dropout: bool = True) -> PreTrainedModel:
    config = XLMRobertaConfig(**setting.config.to_dict() | {"num_labels": TAGS})
    if not dropout:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    torch.manual_seed(0)
    return XLMRobertaForTokenClassification(config)


def _examples(setting: Setting, examples: int, mean: float = 30.0) -> EncodedSplit:
    """Random ids whose tags can be told from them; lengths scatter as those of sentences do."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(mean), 0.5, examples), 8, MAX_LENGTH).astype(int)
    most = min(setting.config.vocab_size, 20_000)
    ids = [draw.integers(5, most, length) for length in lengths]
    labels = [row % TAGS for row in ids]
    return EncodedSplit(ids, None, labels, [np.arange(len(x)) for x in ids], [None] * examples)


def _stage(updates: int, batch_size: int = BATCH_SIZE) -> Stage:
    examples = updates * batch_size
    return Stage(
        *("random", 1, 5e-5, batch_size, examples, 0.1, MAX_LENGTH, Schedule.CONSTANT),
    )


def _train(
    setting: Setting, updates: int, path: DevicePath | None = None, **changes: Any
) -> Training:
    hardware = replace(setting.hardware, **changes)
    split = _examples(setting, updates * BATCH_SIZE)
    runner = Runner(hardware, PADDING)
    return finetune([(_model(setting), split)], _stage(updates), 0, runner, path=path)


def _ways(setting: Setting) -> dict[str, DevicePath]:
    """Eager and as graphs; on a CPU a recording that computes anew stands in for a graph."""
    if setting.is_card:
        off, on = (replace(setting.hardware, graphs=x) for x in ("off", "on"))
        return {"eager": path_of(off), "graphs": path_of(on)}
    wide = DevicePath(width_multiple=16, masters=True, own_mask=True, capturable=True)
    return {"eager": wide, "graphs": replace(wide, recorder=lambda: _computed_anew)}


def _computed_anew(compute: Callable[[], torch.Tensor]) -> Recording:
    result = torch.zeros(2)

    def launch() -> None:
        result.copy_(compute())

    return Recording(launch, result)


# --- sections


def _peak(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """TFLOP a second of the fastest of some matrix products."""
    size, device = setting.matrix, setting.hardware.device
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(5):
        started = _now(setting)
        for _ in range(10):
            a @ a
        best = min(best, (_now(setting) - started) / 10)
    return {"tflops": round(2 * size**3 / best / 1e12, 3), "matrix": size}


def _loop(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Sub-words a second of a long training less a short one, and losses of both ways."""
    short, long = setting.updates
    peak = found.get("peak", {}).get("tflops")
    results: dict[str, Any] = {}
    losses = {}
    for way, path in _ways(setting).items():
        _train(setting, short, path)  # what is compiled or allocated on first use
        first, whole = (_train(setting, updates, path) for updates in (short, long))
        tokens = _tokens(setting, long) - _tokens(setting, short)
        seconds = max(whole.seconds - first.seconds, 1e-9)
        losses[way] = whole.losses
        results[way] = {
            "seconds_of_short": round(first.seconds, 3),
            "seconds_of_long": round(whole.seconds, 3),
            "ms_an_update": round(1000 * seconds / (long - short), 3),
            "tokens_per_s": round(tokens / seconds),
            "share_of_peak": peak and round(_flops(setting) * tokens / seconds / 1e12 / peak, 4),
        }
    difference = np.abs(np.subtract(losses["eager"], losses["graphs"]))
    results["graphs_speedup"] = round(
        results["eager"]["ms_an_update"] / results["graphs"]["ms_an_update"], 2
    )
    results["largest_loss_difference"] = float(difference.max())
    results["equal_losses_at_first"] = int(np.argmax(difference > 0)) if difference.any() else long
    if setting.is_card:
        results["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return results


def _trainer(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """transformers.Trainer with dynamic padding, the same examples, batch size and precision."""
    _, updates = setting.updates
    split = _examples(setting, updates * BATCH_SIZE)
    assert split.labels is not None
    rows = [
        {"input_ids": ids.tolist(), "labels": np.asarray(labels).tolist()}
        for ids, labels in zip(split.input_ids, split.labels, strict=True)
    ]
    seconds = {}
    for sampling in ("random", "group_by_length"):
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                bf16=True,
                use_cpu=not setting.is_card,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=5e-5,
                train_sampling_strategy=sampling,
                dataloader_pin_memory=setting.is_card,
            )
            trainer = transformers.Trainer(
                _model(setting), arguments, data_collator=_collated, train_dataset=rows
            )
            trainer.remove_callback(transformers.PrinterCallback)
            started = _now(setting)
            trainer.train()
            seconds[sampling] = _now(setting) - started
    ours = _train(setting, updates).seconds
    return {
        "ours_s": round(ours, 3),
        "trainer_s": round(seconds["random"], 3),
        "trainer_grouped_s": round(seconds["group_by_length"], 3),
        "ratio": round(seconds["random"] / ours, 2),
        "ratio_grouped": round(seconds["group_by_length"] / ours, 2),
    }


def _collated(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in rows])

    ids = padded("input_ids", PADDING.token_id)
    mask = torch.tensor([[n < len(row["input_ids"]) for n in range(width)] for row in rows]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", -100)}


def _workers(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Updates a second of all workers together, first taking turns, then by MPS."""
    results: dict[str, Any] = {"turns": {}, "mps": {}}
    for sharing in results:
        service = multi_process_service() if sharing == "mps" else nullcontext(None)
        with service as environment:
            if sharing == "mps" and environment is None:
                results["mps"] = "nvidia-cuda-mps-control is not here"
                break
            for workers in setting.workers:
                if time.monotonic() > setting.until:
                    results[sharing][workers] = "no time left"
                    continue
                rate = _rate_of(setting, workers, environment or {})
                results[sharing][workers] = round(rate, 2)
    return results


def _rate_of(setting: Setting, workers: int, environment: dict[str, str]) -> float:
    updates = setting.updates[1]
    smoke = [] if setting.is_card else ["--smoke"]
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--worker", str(updates), *smoke]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        for _ in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a worker ended before it began")
        started = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        if any([process.wait() for process in processes]):
            raise RuntimeError("a worker failed")
        return workers * updates / (time.perf_counter() - started)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _work(setting: Setting, updates: int) -> None:
    """One worker: warms up, says so, and trains when it is told."""
    _train(setting, setting.updates[0])
    print("ready", flush=True)
    sys.stdin.readline()
    _train(setting, updates)


def _memory(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Batches that memory has no room for are cut, and learn the same."""
    rows = TOKEN_BUDGET // MAX_LENGTH  # a row more, and it would be cut without being tried
    if setting.is_card:
        torch.cuda.reset_peak_memory_stats()
    split, stage = _examples(setting, 4 * rows, 100.0), _stage(4, rows)
    runner = Runner(setting.hardware, PADDING)
    whole = finetune([(_model(setting, dropout=False), split)], stage, 0, runner)
    model: nn.Module = _model(setting, dropout=False)
    seen: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, inputs: seen.append(len(inputs["input_ids"])), with_kwargs=True
    )
    if setting.is_card:
        # What weights, gradients and the optimizer take, and a third of what the batch took.
        kept = 20 * sum(x.numel() for x in model.parameters())
        most = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()
        _, card = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction((kept + max(0, most - kept) / 3) / card)
    else:
        model.register_forward_pre_hook(_refuse_many, with_kwargs=True)
    try:
        cut = finetune([(model, split)], stage, 0, runner)
    finally:
        if setting.is_card:
            torch.cuda.set_per_process_memory_fraction(1.0)
    at_once = max(seen[len(seen) // 2 :])  # what fits was found by then
    return {
        "rows_of_a_batch": rows,
        "rows_at_once": at_once,
        "was_cut": at_once < rows,
        "largest_loss_difference": float(np.abs(np.subtract(whole.losses, cut.losses)).max()),
    }


def _refuse_many(module: nn.Module, arguments: Any, inputs: dict[str, torch.Tensor]) -> None:
    if len(inputs["input_ids"]) > BATCH_SIZE:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")


def _scores(setting: Setting, found: dict[str, Any]) -> dict[str, Any]:
    """Whether CPU and card train and predict the same, in float32 and without dropout."""
    # TF32 is no float32; torch leaves it off for matrix products unless asked.
    updates = 8
    split = _examples(setting, updates * BATCH_SIZE)
    results, logits = {}, {}
    losses = {}
    for device in ("cpu", str(setting.hardware.device)):
        hardware = choose_hardware(device, "float32")
        name = "device" if device in losses else device
        model = _model(setting, dropout=False)
        training = finetune([(model, split)], _stage(updates), 0, Runner(hardware, PADDING))
        losses[name] = training.losses
        logits[name] = np.concatenate(predict(model, split, Runner(hardware, PADDING)))
    (_, ours), (_, theirs) = logits.items()
    of_cpu, of_device = losses.values()
    results["largest_loss_difference"] = float(np.abs(np.subtract(of_cpu, of_device)).max())
    results["largest_logit_difference"] = float(np.abs(ours - theirs).max())
    results["equal_predictions"] = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    gold = np.concatenate([np.asarray(x) for x in split.labels or ()])
    for name, values in zip(("cpu", "device"), (ours, theirs), strict=True):
        results[f"accuracy_{name}"] = round(float((values.argmax(-1) == gold).mean()), 5)
    return results


SECTIONS: dict[str, Callable[[Setting, dict[str, Any]], dict[str, Any]]] = {
    "peak": _peak,
    "loop": _loop,
    "scores": _scores,
    "memory": _memory,
    "trainer": _trainer,
    "workers": _workers,
}


# --- counting


def _now(setting: Setting) -> float:
    if setting.is_card:
        torch.cuda.synchronize()
    return time.perf_counter()


def _tokens(setting: Setting, updates: int) -> int:
    return int(_examples(setting, updates * BATCH_SIZE).lengths.sum())


def _flops(setting: Setting) -> float:
    """Floating point operations of a sub-word, forward and backward, without padding.

    Six for each weight of the layers (Kaplan et al. 2020, section 2.1, table 1), embeddings left
    out; attention over some thirty sub-words adds less than one percent.
    """
    config = setting.config
    width, inner = config.hidden_size, config.intermediate_size
    return 6.0 * config.num_hidden_layers * (4 * width**2 + 2 * width * inner)


if __name__ == "__main__":
    main()
