"""What `search.run --dry-run` and `search.confirm --dry-run` foretell against what then comes.

Times in seconds of CPU on one thread, so that it matters little what else the machine does;
updates, stages and disk as ratios, foretold over taken. A confirmation has two recipes and one
look after three seeds, so that what is foretold is of what is trained; what starting costs is not
counted there, as the command does not foretell it:

    python -m tests.benchmarks.dry_run [--real DATA ENCODER]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import torch
from transformers import BertModel

from objectives.pocket.encoder import pocket_config, pocket_tokenizer
from search.findings.confirmation import looks_of
from search.studies.stored_study import open_stored_study
from tests.benchmarks.as_command import run_as_command

ENTITIES = """
question = "Does anything help?"
arms = ["none", "general", "legal"]
backbone = "pocket"
source_language = "qas"
baseline_seeds = 3
trials = 12
[intermediate]
tasks = ["pocket_ner_calendar", "pocket_ner_parties"]
epochs = [1, 2]
learning_rate = [3e-4, 1e-3]
examples = 320
batch_size = 16
max_length = 64
[target]
tasks = ["pocket_ner"]
languages = ["qaa", "qab"]
epochs = [1, 2]
learning_rate = [3e-4, 1e-3]
examples = 240
batch_size = 16
max_length = 64
"""
KINDS = """
question = "In which kind of task?"
arms = ["none", "general", "biomedical", "legal"]
backbone = "pocket"
source_language = "qas"
baseline_seeds = 2
trials = 10
[intermediate]
tasks = ["pocket_ner_calendar", "pocket_pos_layout", "pocket_ner_dosage", "pocket_ner_parties"]
epochs = [2, 4]
learning_rate = 1e-3
examples = 400
batch_size = 16
max_length = 64
[target]
tasks = ["pocket_ner", "pocket_pos"]
languages = ["qaa", "qab"]
epochs = 2
learning_rate = [3e-4, 1e-3]
examples = 400
batch_size = 16
max_length = 64
"""
REAL = """
question = "Do English entities help?"
arms = ["none", "general", "legal"]
backbone = "none"
baseline_seeds = 1
trials = 5
[intermediate]
tasks = ["uner_ewt", "e_ner"]
epochs = [1, 2]
learning_rate = 5e-5
examples = 160
batch_size = 16
[target]
tasks = ["panx"]
languages = ["swa", "yor"]
epochs = 2
learning_rate = 5e-5
examples = 160
batch_size = 16
validation_examples = 150
"""
ESTIMATE = """
import json, sys, time
from search.command_line.options import quiet_optuna
from search.command_line.run_options import read_run_options
from search.studies.asked_study import as_asked
from search.studies.study_file import read_study_file
options = read_run_options(sys.argv[1:])
asked = as_asked(read_study_file(options.study), options.data, options.backbone)
quiet_optuna()
from search.workers.dry_run import estimate_study
print(json.dumps(estimate_study(options, asked, clock=time.process_time).as_json()))
"""

# The program measures its stages by this clock, and foretells a confirmation by them.
ON_CPU_TIME = """
import sys, time
time.perf_counter = time.process_time
from search.cli import main
sys.exit(main(sys.argv[1:]))
"""
COLUMNS = (
    *("study", "predicted", "measured", "ratio", "dry_run", "updates", "stages", "disk"),
    *("confirm_predicted", "confirm_measured", "confirm_ratio"),
)
CONFIRMED = ("--top", "2", "--max-seeds", "3", "--anyway")


def _untrained(folder: Path) -> Path:
    torch.manual_seed(0)
    BertModel(pocket_config()).save_pretrained(folder)
    pocket_tokenizer().save_pretrained(folder)
    return folder


def _cpu(words: list[str], folder: Path) -> tuple[float, str]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, done.stdout


def _trained(file: Path) -> tuple[int, int]:
    """Stages that the studies of a database trained, and their updates.

    A stage has a row for each number of epochs at which it was saved on its way.
    """
    with closing(sqlite3.connect(file)) as database:
        stages, updates = database.execute(
            "SELECT count(DISTINCT study_name || trial_number || position || task), "
            "sum(updates_trained) FROM transfer_stage_runs WHERE finished AND updates_trained > 0"
        ).fetchone()
    return stages, updates


def _compared(name: str, text: str, data: str, encoder: Path, folder: Path) -> dict[str, object]:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    words = [f"{name}.toml", "--data", data, "--backbone", str(encoder), "--threads", "1"]
    took, shown = _cpu([sys.executable, "-c", ESTIMATE, *words], folder)
    said = json.loads(shown)
    ran, _ = _cpu([sys.executable, "-c", ON_CPU_TIME, "run", *words], folder)
    stages, updates = _trained(folder / "transfer-search.sqlite")
    saved = sum(x.stat().st_size for x in folder.rglob("*.safetensors"))
    confirm = ("confirm", "--study", name, *words[1:], *CONFIRMED)
    _cpu([sys.executable, "-c", ON_CPU_TIME, *confirm], folder)
    told, confirmed = _confirmation(name, folder)
    return {
        "study": name,
        "predicted": round(said["seconds"], 1),
        "measured": round(ran, 1),
        "ratio": round(said["seconds"] / ran, 2),
        "dry_run": round(took, 1),
        "updates": round(said["updates_trained"] / updates, 2),
        "stages": round(said["stages_trained"] / stages, 2),
        "disk": round(said["disk"] / max(1, saved), 2),
        "confirm_predicted": round(told, 1),
        "confirm_measured": round(confirmed, 1),
        "confirm_ratio": round(told / confirmed, 2),
    }


def _confirmation(name: str, folder: Path) -> tuple[float, float]:
    """Seconds that a confirmation was foretold to train and score, and those it took."""
    study = open_stored_study(f"sqlite:///{folder / 'transfer-search.sqlite'}", name)
    with closing(study.storage):
        look = looks_of(study)[-1]
    assert look.result is not None
    place = look.plan.looks.index(look.result.seeds)
    return look.plan.outlook.seconds[place], look.result.seconds


def main() -> None:
    """Print the table, and a line of JSON for each study."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--real", nargs=2, metavar=("DATA", "ENCODER"))
    options.add_argument("--only", metavar="STUDY", help="entities, kinds or real")
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as place:
        encoder = _untrained(Path(place) / "encoder")
        studies = [("entities", ENTITIES, "pocket", encoder), ("kinds", KINDS, "pocket", encoder)]
        if given.real:
            studies.append(("real", REAL, given.real[0], Path(given.real[1])))
        print(
            "| study | predicted CPU s | measured | ratio | the dry run itself | "
            "updates | stages | disk | confirmation predicted | measured | ratio |"
        )
        print("|" + "---|" * len(COLUMNS))
        for study in studies:
            if given.only not in {None, study[0]}:
                continue
            folder = Path(place) / study[0]
            folder.mkdir()
            row = _compared(*study, folder)
            print("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |", flush=True)
            print(json.dumps(row), file=sys.stderr)


if __name__ == "__main__":
    run_as_command(main)
