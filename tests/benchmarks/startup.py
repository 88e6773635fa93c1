"""What a command costs that trains nothing, or before it trains: CPU seconds.

    python -m tests.benchmarks.startup --data DIR --backbone DIR
    python -m tests.benchmarks.startup --against CHECKOUT --data DIR --backbone DIR

Every command is a process of its own, and its cost the CPU seconds, user and system, that the
kernel counted for it. Of several checkouts, each command runs in all of them before the next one
does, round by round; the table has the medians. `status`, a finished `run` and `report` are of a
study of one trial, which each checkout made for itself.

To the first update: `search.run` in a process that also watches for torch, and asks it to be told
of the steps of any optimizer (`register_optimizer_step_post_hook`); at the first one it prints its
CPU seconds, those of all threads since the interpreter started, and ends. Watching costs 0.01 s.
The study is `xtreme_legal`: with the pocket corpora; and with real ones (`--data`, `--backbone`)
cut to entities: PAN-X in Swahili and Yoruba, three intermediate corpora. Database and cache are
new, so that the overlap of all splits is looked at too.

Ends in a JSON line: command -> checkout -> CPU seconds of each round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from objectives.pocket.encoder import save_untrained_encoder
from tests.benchmarks.as_command import run_as_command

HERE = Path(__file__).parents[2]
STUDY = ("--study", "xtreme_legal")
RUN = (*STUDY, "--trials", "1", "--threads", "1")
CUT = (
    'arms=["none","general","legal"]',
    'intermediate.tasks=["wnut17","uner_ewt","e_ner"]',
    'target.tasks=["panx"]',
    'target.languages=["swa","yor"]',
    "intermediate.examples=48",
    "target.examples=100",
)
SMALL = (
    *("target.examples=16", "target.epochs=1", "target.learning_rate=1e-3"),
    'target.tasks=["panx"]',
)
SMALL_RUN = (*RUN, *(word for change in SMALL for word in ("--set", change)), "--data", "pocket")
ERRORS = {
    "wrong --data": ("--data", "/nowhere"),
    "wrong --storage": ("--data", "pocket", "--storage", "sqlite:////nowhere/study.sqlite"),
    "wrong --study": ("--study", "xtreme_legl"),
    "wrong --backbone": ("--data", "pocket", "--backbone", "/nowhere"),
}
UNTIL_FIRST_UPDATE = """
import os, sys, threading, time

def watch():
    while not hasattr(sys.modules.get("torch.optim"), "Optimizer"):
        time.sleep(0.01)
    from torch.optim.optimizer import register_optimizer_step_post_hook
    register_optimizer_step_post_hook(end)

def end(*_):
    print("CPU seconds:", time.process_time(), flush=True)
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()
from search.run import main
main(sys.argv[1:])
"""


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--data", help="folder of corpora; default: pocket corpora only")
    options.add_argument("--backbone", help="folder of an encoder; goes with --data")
    options.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="one round")
    options.add_argument("--only", nargs="+", metavar="COMMAND", help="first words of its row")
    chosen = options.parse_args()
    commands = {
        name: words
        for name, words in _commands(chosen.data, chosen.backbone).items()
        if not chosen.only or name.lstrip("-").startswith(tuple(chosen.only))
    }
    checkouts = {"here": HERE} | ({"against": chosen.against} if chosen.against else {})
    with tempfile.TemporaryDirectory() as folder:
        warm = {name: Path(folder, name) for name in checkouts}
        for name, checkout in checkouts.items():
            warm[name].mkdir()
            _prepare(checkout, warm[name])
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for _ in range(1 if chosen.quick else chosen.rounds):
            for command, words in commands.items():
                for name, checkout in checkouts.items():
                    seconds = _cpu_seconds(words, checkout, warm[name])
                    found[command][name].append(seconds)
    print(f"{'CPU seconds':<28}" + "".join(f"{name:>10}" for name in checkouts))
    for command, by_checkout in found.items():
        print(f"{command:<28}" + "".join(f"{median(x):>10.2f}" for x in by_checkout.values()))
    print(json.dumps(found))


def _commands(data: str | None, backbone: str | None) -> Mapping[str, Sequence[str]]:
    """What is measured -> words after `python`."""
    run = ("-m", "search.run")
    commands: dict[str, Sequence[str]] = {"--help": (*run, "--help")}
    commands |= {name: (*run, *STUDY, *words) for name, words in ERRORS.items()}
    commands["status"] = ("-m", "search.status", *STUDY)
    commands["run, finished"] = (*run, *SMALL_RUN, "--backbone", "encoder")
    commands["report"] = ("-m", "search.report", *STUDY, "--to", "page", "--no-png")
    new = ("--storage", "sqlite:///new.sqlite", "--cache", "new.cache")
    until = ("-c", UNTIL_FIRST_UPDATE, *RUN, *new)
    commands["first update, pocket"] = (*until, "--data", "pocket")
    if data and backbone:
        cut = [word for change in CUT for word in ("--set", change)]
        commands["first update, real"] = (*until, "--data", data, "--backbone", backbone, *cut)
    return commands


def _prepare(checkout: Path, folder: Path) -> None:
    """An encoder, and a study of one trial that is finished."""
    save_untrained_encoder(folder / "encoder")
    process = _process(("-m", "search.run", *SMALL_RUN, "--backbone", "encoder"), checkout, folder)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{checkout}: {output}")


def _cpu_seconds(words: Sequence[str], checkout: Path, folder: Path) -> float:
    for file in folder.glob("new.sqlite*"):
        file.unlink()
    shutil.rmtree(folder / "new.cache", ignore_errors=True)
    process = _process(words, checkout, folder)
    assert process.stdout is not None
    *_, last = process.stdout.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if words[0] == "-c":
        said, _, seconds = last.partition(": ")
        if said != "CPU seconds":
            sys.exit(f"{checkout}: {last}")
        return float(seconds)
    return used.ru_utime + used.ru_stime


def _process(words: Sequence[str], checkout: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(checkout.resolve()), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


if __name__ == "__main__":
    run_as_command(main)
