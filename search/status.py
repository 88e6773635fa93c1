"""`python -m search.status`: who works at a study, how far it is, and what went wrong."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from search.command_line.options import add_storage, fail_in_one_line

if TYPE_CHECKING:
    from search.studies.stored_study import StoredStudy

EPILOG = """\
A worker that has been silent for longer than its lease is dead or cut off: its trial is taken over
by the next one that is free. Failed trials keep their reason; `search.report` lists all of them.
"""
SHOWN_REASONS = 5


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.status", description=__doc__, epilog=EPILOG
    )
    options.add_argument("--study", required=True, help="a study's name in the storage")
    add_storage(options)
    options.add_argument("--json", action="store_true", help="one JSON object, for programs")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        from search.studies.stored_study import open_stored_study

        status = study_status(open_stored_study(options.storage, options.study))
    if options.json:
        print(json.dumps(status))
    else:
        print("\n".join(in_words(status)))
    return 0


def study_status(results: StoredStudy) -> dict[str, Any]:
    """How a study stands, in JSON's types; times in seconds.

    Returns:
        `study`, `data`, `trials` (asked for, done, running, left), `states` (of Optuna's trials),
        `workers`, `stages` (in training, with the seconds that their leases hold), `failures` (by
        kind), `reasons` (the latest), `retries`, `active_seconds`, `device_seconds`,
        `seconds_left` (None while unknown), `outbox` (entries of dead processes of this machine)
        and `stopped` (why, where a worker stopped the study).
    """
    from collections import Counter
    from dataclasses import asdict

    from search.studies.trial_notes import TrialNotes
    from storage.leases import Leases
    from storage.slots import Slots
    from storage.workers import Workers

    storage, study = results.storage, results.study
    leases = Leases(storage.engine)
    slots = Slots(storage.engine, leases, results.name)
    directory = Workers(storage.engine, results.name)
    account, workers = directory.account(), directory.all()
    trials = study.get_trials(deepcopy=False)
    opened = slots.open_slots()
    done, asked = slots.count_done(), max(account.trials, slots.count_done())
    running = [slot for slot in opened if slot.holder is not None]
    of_slots = {slot.lease_key for slot in opened}
    names = {worker.worker for worker in workers}
    notes = {trial.number: TrialNotes.of(trial) for trial in trials}
    failed = {number: each for number, each in notes.items() if each.failure}
    alive = [worker for worker in workers if not worker.is_silent]
    seconds_left = None
    if alive and done and asked > done:
        seconds_left = account.active_seconds / done * (asked - done)
    return {
        "study": results.name,
        "data": study.user_attrs["data"],
        "trials": {
            "asked": asked,
            "done": done,
            "running": len(running),
            "left": asked - done - len(running),
        },
        "states": dict(Counter(trial.state.name.lower() for trial in trials)),
        "workers": [
            {
                "worker": worker.worker,
                "device": worker.device,
                "silent": worker.is_silent,
                "silent_seconds": worker.silent_seconds,
                **asdict(worker.activity),
            }
            for worker in workers
        ],
        "stages": [
            {"stage_key": key, **asdict(holder)}
            for key, holder in leases.held().items()
            if key not in of_slots and holder.owner in names
        ],
        "failures": dict(Counter(str(each.failure) for each in failed.values())),
        "reasons": [
            {"trial": number, "failure": str(each.failure), "reason": each.reason}
            for number, each in list(failed.items())[-SHOWN_REASONS:]
        ],
        "retries": sum(each.retry_of is not None for each in notes.values()),
        "active_seconds": account.active_seconds,
        "device_seconds": account.device_seconds,
        "seconds_left": seconds_left,
        "outbox": len(storage.outbox.left()),
        "stopped": account.stop_reason,
    }


def in_words(status: dict[str, Any]) -> list[str]:
    """A status as lines for a person."""
    from search.command_line.words import in_hours

    trials = status["trials"]
    left = "done" if not (trials["left"] or trials["running"]) else f"{trials['left']} to come"
    if status["seconds_left"] is not None:
        left += f", about {in_hours(status['seconds_left'])} at this pace"
    lines = [
        f"{status['study']} ({status['data']}): {trials['done']} of {trials['asked']} trials, "
        f"{trials['running']} running, {left}",
        f"used: {in_hours(status['active_seconds'])} with a worker there, "
        f"{in_hours(status['device_seconds'])} of devices",
    ]
    for worker in status["workers"]:
        machine, _, pid, _ = _parts(worker["worker"])
        at = worker["doing"] if worker["slot"] is None else f"slot {worker['slot']}, "
        if worker["slot"] is not None:
            at += worker["doing"]
            if worker["total"]:
                at += f", {worker['done']} of {worker['total']}"
        seen = f"seen {worker['silent_seconds']:.0f} s ago"
        if worker["silent"]:
            seen = f"silent for {in_hours(worker['silent_seconds'])}: dead or cut off"
        lines.append(f"worker {pid} on {machine}, {worker['device']}: {at} ({seen})")
    if not status["workers"]:
        lines.append("no worker is there; start one with python -m search.run")
    for stage in status["stages"]:
        machine, _, pid, _ = _parts(stage["owner"])
        lines.append(
            f"stage {stage['stage_key'][:12]} is trained by {pid} on {machine}, "
            f"{stage['done']} of {stage['total']} updates, its lease holds "
            f"{stage['seconds_left']:.0f} s more"
        )
    if status["failures"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(status["failures"].items()))
        lines.append(f"attempts without a value: {kinds}; retries: {status['retries']}")
    lines += [
        f"  trial {x['trial']} {x['failure']}: {' '.join(x['reason'].split())}"
        for x in status["reasons"]
    ]
    if status["outbox"]:
        lines.append(
            f"outbox: {status['outbox']} results of dead workers of this machine wait for its "
            f"next worker"
        )
    if status["stopped"]:
        lines.append(f"the study was stopped last because {status['stopped']}")
    return lines


def _parts(worker: str) -> tuple[str, str, str, str]:
    """Of a process's identity: machine, namespace, process number, start."""
    machine, _, rest = worker.partition("/")
    namespace, pid, started = rest.rsplit("/", 2)
    return machine, namespace, pid, started


if __name__ == "__main__":
    sys.exit(main())
