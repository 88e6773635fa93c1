"""`search.proxy` as users start it, killed in the middle of a study."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from optuna.trial import FrozenTrial

from search.proxy import main
from tests.search_tests.conftest import Workplace


def started(workplace: Workplace, url: str, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A proxy, and its line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "search.proxy", *words],
        env=workplace.environment(TRANSFER_SEARCH_STORAGE=url),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    return process, process.stderr.readline()


@pytest.mark.slow
def test_a_study_outlives_its_proxy(
    workplace: Workplace,
    postgresql_url: str,
    wait_for: Callable[..., None],
    trials_of: Callable[[str], list[FrozenTrial]],
) -> None:
    proxy, line = started(workplace, postgresql_url, "--port", "0")
    address = line.split("--proxy ")[1].strip()
    assert "s3cret" not in line
    assert address.startswith("localhost:")
    proxies = [proxy]

    def kill_and_start_again() -> None:
        wait_for(lambda: len(trials_of(postgresql_url)) > 1, lambda: True)
        proxies[0].kill()
        proxies[0].communicate()
        port = address.rpartition(":")[2]
        proxies.append(started(workplace, postgresql_url, "--port", port)[0])

    killer = threading.Thread(target=kill_and_start_again)
    killer.start()
    done = workplace.search(
        *("--trials", "5", "--storage", postgresql_url, "--proxy", address),
        *("--set", "target.epochs=30"),
    )
    killer.join()
    assert done.returncode == 0, done.stderr
    trials = trials_of(postgresql_url)
    slots = Counter(trial.user_attrs["slot"] for trial in trials)
    assert slots == dict.fromkeys(range(5), 1)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    proxies[1].send_signal(signal.SIGTERM)
    proxies[1].communicate(timeout=30)
    assert proxies[1].returncode == 0


def test_beyond_this_machine_it_says_that_it_has_no_password(
    workplace: Workplace, postgresql_url: str
) -> None:
    proxy, line = started(workplace, postgresql_url, "--port", "0", "--host", "0.0.0.0")
    proxy.terminate()
    proxy.communicate(timeout=30)
    assert "the proxy has no password" in line
    assert proxy.returncode == 0


def test_a_proxy_of_no_database_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--storage", "postgresql+psycopg://me:s3cret@localhost:1/none"])
    error = capsys.readouterr().err
    assert "expected a reachable database" in error
    assert error.count("s3cret") == 0
