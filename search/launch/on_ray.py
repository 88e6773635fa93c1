"""Workers as actors of a Ray cluster: Ray finds them room, and starts them again when they die.

Trials are not Ray's business: its actors pull them from the study's database like any worker, so
that one layer alone tries anything again. On a cluster that was there before they are detached:
the launcher may die, and a second one finds them by their names.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.run_options import RunOptions, further_worker
from search.command_line.stop_signal import StopSignal
from search.command_line.words import say
from search.launch.hosted_worker import HostedRun, HostedWorker
from search.studies.study_file import StudyFile
from spaces.errors import Interrupted, SpecError, StorageError, first_line
from storage.fingerprint import fingerprint
from storage.leases import Leases
from storage.opening import open_storage
from storage.outages import asking
from storage.slots import Slots
from storage.urls import is_of_one_machine, redacted

NAMESPACE = "transfer-search"
POLL_SECONDS = 1.0
# A worker that is through stays for so long that its launcher learns how it ended.
LINGER_SECONDS = 15.0
# Until Ray has forgotten the name of an actor that was killed.
FORGET_SECONDS = 10.0
# Ending takes as long as the update that a worker is at.
END_SECONDS = 120.0

Node = Mapping[str, Any]


class RayWorker:
    """A worker of a study in a process of Ray's.

    It works from its construction on, as Ray repeats that alone when it starts an actor again
    whose launcher is gone.

    Args:
        run: What to do.
    """

    def __init__(self, run: HostedRun) -> None:
        import ray

        self._worker = HostedWorker(run)
        self._worker.start()
        handle = ray.get_runtime_context().current_actor
        threading.Thread(target=self._leave, args=(handle,), daemon=True).start()

    def code(self) -> int | None:
        """The exit code of its run; None while it is at work."""
        return self._worker.wait(0)

    def end(self) -> None:
        """End the run where it is safe; its trial goes back."""
        self._worker.end()

    def _leave(self, handle: Any) -> None:
        """Give its slot of the cluster back when its work is done."""
        import ray

        self._worker.wait(None)
        time.sleep(LINGER_SECONDS)
        ray.kill(handle, no_restart=True)


def launch_on_ray(options: RunOptions, file: StudyFile) -> int:
    """Have a study's workers on a cluster, and wait for them.

    Returns:
        0 when all ended well, the highest exit code of a worker else; 128 + the signal's number
        when one ended the waiting.

    Raises:
        SpecError: Ray is not installed, there is no cluster at the address, or no room on it.
        StorageError: The storage is one of this machine, the cluster is not.
    """
    ray = _connected(options)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        is_elsewhere = len(nodes) > 1 or (options.ray_address or "").startswith("ray://")
        if is_of_one_machine(options.storage) and is_elsewhere:
            raise StorageError(
                f"storage {redacted(options.storage)}",
                expected=f"a database that all {len(nodes)} nodes of the cluster reach",
                found="one of this machine",
                advice="use postgresql+psycopg://USER@HOST/DATABASE",
            )
        name = options.name or file.spec.name
        prefix = f"{name}/{fingerprint(redacted(options.storage))[:8]}/"
        if options.end:
            return _end(ray, prefix)
        fleet = _Fleet(ray, prefix, name, options, nodes)
        return fleet.work(options.trials or file.spec.trials)
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class _Fleet:
    """The actors of one study."""

    ray: Any
    prefix: str
    name: str
    options: RunOptions
    nodes: Sequence[Node]
    stop: StopSignal = field(default_factory=StopSignal)

    @property
    def address(self) -> StudyAddress:
        return self.options.study_address(self.name, self.options.data)

    def work(self, trials: int) -> int:
        """Start them, and wait until the last has ended."""
        options = self.options
        storage = open_storage(options.storage)
        slots = Slots(storage.engine, Leases(storage.engine), self.name)
        try:
            with self.stop.listening(), asking(self.stop.check):
                try:
                    code = self._wait(self._started(), slots, trials)
                except Interrupted:
                    self._leave()
                    return 128 + self.stop.number
            self._show(slots.count_done(), trials)
            return code
        finally:
            storage.close()

    def _started(self) -> dict[int, Any]:
        options = self.options
        per_worker, room = worker_resources(options, self.nodes)
        workers = options.workers or room
        if workers == 0:
            raise SpecError(
                "--launcher ray",
                expected=f"room for a worker ({_in_words(per_worker)}) on a node",
                found="none",
                advice="--threads or --device asks for less",
            )
        threads = options.threads or int(per_worker["num_cpus"])
        share = per_worker.get("num_gpus", 1.0)
        run = HostedRun(further_worker(options, threads, options.device, share))
        there = _named(self.ray, self.prefix)
        for actor in there.values():
            if _code_of(self.ray, actor) is not None:
                self.ray.kill(actor, no_restart=True)  # of a launcher before, and through
        until = time.monotonic() + FORGET_SECONDS
        while (there := _named(self.ray, self.prefix)) and time.monotonic() < until:
            if all(_code_of(self.ray, actor) is None for actor in there.values()):
                break
            time.sleep(POLL_SECONDS / 4)
        how = {"namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        how |= {"max_restarts": -1, "max_task_retries": -1, **per_worker}
        actor = self.ray.remote(RayWorker)
        # The storage's URL goes as part of an argument: runtime environments are shown in Ray's
        # dashboard and logs.
        started = {
            number: actor.options(name=f"{self.prefix}{number}", **how).remote(run)
            for number in range(workers)
        }
        waiting = f"; there is room for {room} now" if workers > room else ""
        self._say(f"{workers} workers of {_in_words(per_worker)} each on Ray{waiting}")
        if there:
            self._say(f"{len(there)} of them are at work already, as they were started")
        return started

    def _wait(self, actors: dict[int, Any], slots: Slots, trials: int) -> int:
        codes: dict[int, int] = {}
        asked = {number: actor.code.remote() for number, actor in actors.items()}
        shown = -1
        while asked:
            self.stop.check()
            if (done := slots.count_done()) != shown:
                shown = done
                self._say(f"{done} of {trials} trials are done")
            ready, _ = self.ray.wait(
                list(asked.values()), num_returns=len(asked), timeout=POLL_SECONDS
            )
            for number, reply in list(asked.items()):
                if reply not in ready:
                    continue
                try:
                    code = self.ray.get(reply)
                except self.ray.exceptions.RayActorError:
                    code = 0 if slots.are_done(trials) else 1  # it left, or somebody ended it
                if code is None:
                    asked[number] = actors[number].code.remote()
                    continue
                codes[number] = code
                del asked[number]
                self.ray.kill(actors[number], no_restart=True)
            if len(ready) == len(asked):
                time.sleep(POLL_SECONDS)
        return max(codes.values())

    def _leave(self) -> None:
        """What a signal to the launcher means for its workers."""
        address = self.options.ray_address
        if address is None:
            self._say("ending the workers, as their cluster ends with this process")
            _end(self.ray, self.prefix)
            return
        end = ("--launcher", "ray", "--address", address, "--end")
        self._say(
            f"the workers go on without this launcher; end them with: "
            f"{next_command('run', self.address, *end)}"
        )

    def _show(self, done: int, trials: int) -> None:
        from search.reporting.terminal import show_results
        from search.studies.stored_study import open_stored_study

        if done:
            show_results(open_stored_study(self.options.storage, self.name))
        if done < trials:
            self._say(f"{done} of {trials} trials are done, and no worker is left")
        self._say(f"browse:  {next_command('dashboard', self.address)}")

    def _say(self, line: str) -> None:
        if not self.options.quiet:
            say(line)


def worker_resources(options: RunOptions, nodes: Sequence[Node]) -> tuple[dict[str, float], int]:
    """What one worker asks of Ray, and how many of them there is room for."""
    cpus = float(options.threads or 1)
    resources = [node["Resources"] for node in nodes]
    if options.device == "cpu" or not any(have.get("GPU") for have in resources):
        return {"num_cpus": cpus}, sum(int(have.get("CPU", 0) // cpus) for have in resources)
    per_gpu = int(options.workers_per_gpu or 1)  # auto is refused with Ray
    room = sum(
        min(int(have.get("GPU", 0)) * per_gpu, int(have.get("CPU", 0) // cpus))
        for have in resources
    )
    return {"num_cpus": cpus, "num_gpus": 1 / per_gpu}, room


def _connected(options: RunOptions) -> Any:
    """Ray's module, connected to the cluster."""
    # Read by Ray when it is loaded: no statistics to its makers, and no actor without the cards
    # that are there for workers without one.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise SpecError(
            "--launcher ray",
            expected="the package ray",
            found="none",
            advice="install it with pip install 'transfer-search[ray]'",
        ) from error
    address = options.ray_address
    if options.end and address is None:
        raise SpecError("--end", expected="--address, of the workers' cluster", found="none")
    how: dict[str, Any] = {"namespace": NAMESPACE, "logging_level": logging.ERROR}
    try:
        if address:
            ray.init(address, **how)
        else:
            ray.init("local", include_dashboard=False, **how)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SpecError(
            "--address",
            expected=f"a Ray cluster at {address}",
            found=first_line(error),
            advice="one that wants a token has it by RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or "
            "~/.ray/auth_token",
        ) from error
    return ray


def _end(ray: Any, prefix: str) -> int:
    """End a study's workers, those that cannot do it themselves by force."""
    actors = _named(ray, prefix)
    asked = [actor.end.remote() for actor in actors.values()]
    until = time.monotonic() + END_SECONDS
    while actors and time.monotonic() < until:
        for name, actor in list(actors.items()):
            if _code_of(ray, actor) is not None:
                ray.kill(actor, no_restart=True)
                del actors[name]
        time.sleep(POLL_SECONDS / 4)
    for actor in actors.values():
        ray.kill(actor, no_restart=True)
    say(f"{len(asked)} workers ended")
    return 0


def _named(ray: Any, prefix: str) -> dict[str, Any]:
    """The actors of a study that are there."""
    actors = {}
    for name in ray.util.list_named_actors():
        if name.startswith(prefix):
            try:
                actors[name] = ray.get_actor(name)
            except ValueError:
                continue  # it left between the list and this
    return actors


def _code_of(ray: Any, actor: Any) -> int | None:
    """The exit code of an actor's run, 0 of one that is gone; None while it is at work."""
    try:
        code: int | None = ray.get(actor.code.remote(), timeout=POLL_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return None
    except ray.exceptions.RayActorError:
        return 0
    return code


def _in_words(resources: Mapping[str, float]) -> str:
    words = [f"{resources['num_cpus']:.3g} CPU"]
    if "num_gpus" in resources:
        words.append(f"{resources['num_gpus']:.3g} GPU")
    return ", ".join(words)
