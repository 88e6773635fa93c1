"""What `search.status` shows people: the status of a study as lines."""

from __future__ import annotations

from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.words import in_hours
from search.findings.study_status import StudyStatus
from storage.workers import LiveWorker


def status_lines(status: StudyStatus, address: StudyAddress) -> list[str]:
    """A status as lines for a person."""
    trials = status.trials
    left = f"{trials.left} to come" if trials.left or trials.running else "done"
    if status.seconds_left is not None:
        left += f", about {in_hours(status.seconds_left)} at this pace"
    lines = [
        f"{status.study} ({status.data}): {trials.done} of {trials.asked} trials, "
        f"{trials.running} running, {left}",
        f"direct trainings: {status.direct} done"
        + ("" if status.is_tuned else "; trials begin when the best is known"),
        f"used: {in_hours(status.active_seconds)} with a worker there, "
        f"{in_hours(status.device_seconds)} of devices",
        *map(_worker_line, status.workers),
    ]
    if not status.workers and (trials.left or not trials.asked):
        wanted = ("--trials", str(trials.asked)) if trials.asked else ()
        command = next_command("run", address, *wanted)
        lines.append(f"no worker is there; start one with {command}")
    for key, holder in status.stages.items():
        machine, pid = _machine_and_pid(holder.owner)
        lines.append(
            f"stage {key[:12]} is trained by {pid} on {machine}, {holder.done} of {holder.total} "
            f"updates, its lease holds {holder.seconds_left:.0f} s more"
        )
    if status.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(status.failures.items()))
        lines.append(f"attempts without a value: {kinds}; retries: {status.retries}")
    lines += [
        f"  trial {x.trial} {x.failure}: {' '.join(x.reason.split())}" for x in status.reasons
    ]
    if status.outbox:
        lines.append(
            f"outbox: {status.outbox} results of dead workers of this machine wait for its "
            f"next worker"
        )
    lines += status.missing
    if status.stopped:
        lines.append(f"the study was stopped last because {status.stopped}")
    return lines


def _worker_line(worker: LiveWorker) -> str:
    machine, pid = _machine_and_pid(worker.worker)
    activity = worker.activity
    at = activity.doing
    if activity.slot is not None:
        at = f"slot {activity.slot}, {at}"
        if activity.total:
            at += f", {activity.done} of {activity.total}"
    seen = f"seen {worker.silent_seconds:.0f} s ago"
    if worker.is_silent:
        seen = f"silent for {in_hours(worker.silent_seconds)}: dead or cut off"
    return f"worker {pid} on {machine}, {worker.device}: {at} ({seen})"


def _machine_and_pid(identity: str) -> tuple[str, str]:
    """Of a process's identity, which is machine, namespace, process number and start."""
    machine, _, rest = identity.partition("/")
    _, pid, _ = rest.rsplit("/", 2)
    return machine, pid
