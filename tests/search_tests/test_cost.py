"""What a study cost, and the cache it keeps: seen by the commands that a user has."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial

from search import cache, cost
from search.findings.stage_costs import EVALUATION, PREFIX, SHARED, Cost, study_cost
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import PairedScore, Score, StageRun, TrainedStage
from tests.processes import wait_until
from tests.search_tests.conftest import Workplace


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    storage = open_storage(f"sqlite:///{tmp_path / 'cost.db'}")
    yield Ledger(storage.engine)
    storage.engine.dispose()


def made(ledger: Ledger, key: str, updates: int, training: float, scoring: float = 0.0) -> None:
    ledger.record_stage(TrainedStage(key, "", "t", updates, training, scoring, "", "", {}), ())


def ran(
    ledger: Ledger,
    trial: int,
    position: str,
    key: str,
    asked: int,
    trained: int = 0,
    seconds: tuple[float, float] = (0.0, 0.0),
    *,
    finished: bool = True,
    study: str = "s",
) -> None:
    run = StageRun(0, position, "t", key, asked, trained, *seconds, finished=finished)
    ledger.record_stage_run(study, trial, run)


def completed(ledger: Ledger, trial: int, study: str = "s") -> None:
    score = Score(f"k{trial}", "c", "t", "swa", "validation", "accuracy", 0.5, 10, 0, 0)
    ledger.record_trial(study, trial, [PairedScore(0, score)])


def test_each_saving_is_told_apart_and_all_add_up(ledger: Ledger) -> None:
    made(ledger, "short", 10, 1.0)
    made(ledger, "long", 50, 5.0)
    made(ledger, "own", 20, 4.0, 0.5)
    made(ledger, "base", 20, 4.0, 0.5)
    # The first trial trains all, the long stage by way of the short one.
    ran(ledger, 0, "intermediate", "long", 50)
    ran(ledger, 0, "intermediate", "short", 0, 10, (1.0, 0.0))
    ran(ledger, 0, "intermediate", "long", 0, 40, (4.0, 0.0))
    ran(ledger, 0, "target", "own", 20)
    ran(ledger, 0, "target", "own", 0, 20, (4.0, 0.5))
    completed(ledger, 0)
    first = study_cost(ledger, "s")
    assert first.asked == first.trained == Cost(70, 9.5)
    # A direct training before it.
    ran(ledger, 0, "target", "base", 20, study="s.baseline")
    ran(ledger, 0, "target", "base", 0, 20, (4.0, 0.5), study="s.baseline")
    completed(ledger, 0, "s.baseline")
    assert study_cost(ledger, "s").trained == Cost(90, 14.0)
    # The second finds all of it.
    ran(ledger, 1, "intermediate", "long", 50)
    ran(ledger, 1, "target", "own", 20)
    completed(ledger, 1)
    # The third goes on from the short one.
    made(ledger, "middle", 30, 3.0)
    ran(ledger, 2, "intermediate", "middle", 30)
    ran(ledger, 2, "intermediate", "middle", 0, 20, (2.0, 0.0))
    completed(ledger, 2)
    # The fourth is interrupted; the fifth, its retry, finds what the fourth had finished.
    ran(ledger, 3, "intermediate", "long", 50)
    ran(ledger, 3, "target", "own", 0, 7, (1.5, 0.0), finished=False)
    total = study_cost(ledger, "s")
    assert total.trials == 4
    assert total.asked == Cost(90 + 70 + 30, 14.0 + 9.5 + 3.0)
    assert total.saved == {
        SHARED: Cost(70, 9.0),
        PREFIX: Cost(10, 1.0),
        EVALUATION: Cost(0, 0.5),
    }
    assert total.trained == Cost(90 + 20, 14.0 + 2.0)
    assert total.spent_elsewhere == Cost(7, 1.5)
    assert total.ratio == pytest.approx(26.5 / 16)


def test_a_study_without_trials_cost_nothing(ledger: Ledger) -> None:
    empty = study_cost(ledger, "s")
    assert (empty.asked, empty.trained, empty.ratio) == (Cost(), Cost(), 1.0)


def test_a_run_ends_with_its_cost_and_the_command_shows_it_whole(
    searched: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    done = searched.search("--trials", "5")
    line = re.search(
        r"^cost: (\d+) s trained of (\d+) s asked for \(\d+\.\d times less\); saved by shared "
        r"stages \d+ s, prefixes \d+ s, evaluations \d+ s$",
        done.stdout,
        re.MULTILINE,
    )
    assert line, done.stdout
    assert int(line[1]) <= int(line[2])
    assert cost.main(["--study", "tiny", "--storage", searched.storage]) == 0
    shown = capsys.readouterr().out
    for row in ("asked for", "saved by prefixes", "saved by shared stages", "trained"):
        assert row in shown
    assert "6 complete trials" in shown, "the direct training is one"
    study = optuna.load_study(study_name="tiny", storage=searched.storage)
    notes = [
        value for key, value in study._storage.get_study_system_attrs(study._study_id).items()
    ]
    assert any("cost: " in str(note) for note in notes)


# --- the cache


def test_the_cache_is_listed_measured_verified_and_emptied(
    searched: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace = searched

    def run(*words: str) -> tuple[int, list[str]]:
        code = cache.main([*words, "--storage", workplace.storage])
        return code, capsys.readouterr().out.splitlines()

    code, lines = run("ls")
    assert code == 0
    assert lines[0].split()[:3] == ["key", "task", "epochs"]
    entries = len(lines) - 1
    assert {line.split()[1] for line in lines[1:]} <= {"pocket_ner_calendar", "pocket_ner_parties"}
    code, lines = run("du")
    assert code == 0
    assert re.search(rf"\d MB +{entries} in all", lines[-1])
    assert run("verify") == (0, [f"{entries} entries, 0 damaged, {_cache_of(workplace)}"])
    broken = next(_cache_of(workplace).glob("??/*/encoder.safetensors"))
    broken.write_bytes(b"")
    code, lines = run("verify")
    assert code == 1
    assert lines[0].startswith("damaged: ")
    assert broken.parent.name.partition("-")[0] in lines[0]
    code, lines = run("gc", "--cache-limit", "0")
    assert code == 0
    assert lines[0].startswith(f"removed {entries} entries and 0 leftovers")
    assert not list(_cache_of(workplace).glob("??/*"))


@pytest.mark.parametrize("size", ["", "20 apples", "-3GB", "GB"])
def test_a_limit_that_is_no_size_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cache.main(["gc", f"--cache-limit={size}"])
    assert ended.value.code == 2
    assert "expected a size as in 20GB" in capsys.readouterr().err


@pytest.mark.slow
def test_a_limited_cache_stays_within_it_and_the_study_comes_to_the_same(
    workplace: Workplace,
) -> None:
    assert workplace.search("--trials", "5", "--quiet").returncode == 0
    free = [trial.value for trial in _trials(workplace, "tiny")]
    sizes = [path.stat().st_size for path in _cache_of(workplace).glob("??/*/*")]
    limited = workplace.folder / "limited"
    largest = 2 * sum(sizes[:2])
    done = workplace.search(
        *("--trials", "5", "--storage", f"sqlite:///{workplace.folder / 'limited.db'}"),
        *("--cache", str(limited), "--cache-limit", str(largest)),
    )
    assert done.returncode == 0, done.stderr
    again = optuna.load_study(
        study_name="tiny", storage=f"sqlite:///{workplace.folder / 'limited.db'}"
    )
    assert [trial.value for trial in again.trials] == free
    assert cache.main(["gc", "--cache", str(limited), "--cache-limit", str(largest)]) == 0
    left = sum(path.stat().st_size for path in limited.glob("??/*/*"))
    assert 0 < left <= largest


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)  # not on the full disk
def test_a_disk_that_stays_full_ends_the_worker_and_the_next_one_goes_on(
    workplace: Workplace, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may not grow beyond a megabyte: a disk that is full as far as checkpoints go."""
    monkeypatch.setattr("search.workers.loop.PASSING_RETRIES", 1)
    options = ("--trials", "3", "--storage", storage_url)
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, most))
    try:
        limited = workplace.search(*options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert limited.returncode == 2, limited.stderr
    assert not list(_cache_of(workplace).glob("*/*")), "nothing half written"
    assert workplace.search(*options).returncode == 0
    storage = open_storage(storage_url)
    trials = optuna.load_study(study_name="tiny", storage=storage).trials
    storage.close()
    assert [(trial.user_attrs["slot"], trial.state.name) for trial in trials] == [
        *((0, "FAIL"), (0, "FAIL")),
        *((0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")),
    ]
    reason = trials[1].user_attrs["reason"]
    assert "expected a place that can be written" in reason
    assert "File too large" in reason
    assert limited.stderr.splitlines()[-1] == f"error: {reason}"


@pytest.mark.slow
def test_a_killed_worker_leaves_the_epochs_it_saved_and_blocks_nobody(
    workplace: Workplace,
) -> None:
    """After a kill -9 in the middle of a stage the retry goes on from its last saved epoch."""
    # Under this name the first trial with an intermediate stage draws the 20 epochs.
    options = ("--trials", "2", "--set", "intermediate.epochs=[20, 1]", "--name", "resumed")
    options += ("--set", "sampler=random")
    process = workplace.start(*workplace.command(*options))
    folder = _cache_of(workplace)
    wait_until(lambda: _first_epoch_is_kept(workplace), process)
    saved = list(folder.glob("??/*.json"))
    process.kill()
    process.communicate()
    done = workplace.search(*options)
    assert done.returncode == 0, done.stderr
    assert saved[0] in list(folder.glob("??/*.json"))
    storage = open_storage(workplace.storage)
    groups = Ledger(storage.engine).stage_runs("resumed")
    storage.engine.dispose()
    first, retry = (groups[trial.number] for trial in _killed_and_its_retry(workplace))
    long = [[run for run in runs if run.position == "intermediate"] for runs in (first, retry)]
    # Asked for by both; trained once, by way of the first epoch.
    assert [[(run.updates_asked, run.updates_trained) for run in runs] for runs in long] == [
        [(80, 0), (0, 4)],
        [(80, 0), (0, 76)],
    ]


def _first_epoch_is_kept(workplace: Workplace) -> bool:
    engine = sa.create_engine(workplace.storage)
    with engine.connect() as connection:
        query = "SELECT COUNT(*) FROM transfer_stage_runs WHERE updates_trained = 4"
        is_there = sa.inspect(connection).has_table("transfer_stage_runs")
        found = is_there and connection.exec_driver_sql(query).scalar_one() > 0
    engine.dispose()
    return bool(found)


def _killed_and_its_retry(workplace: Workplace) -> tuple[FrozenTrial, FrozenTrial]:
    trials = _trials(workplace, "resumed")
    (retry,) = (trial for trial in trials if "retry_of" in trial.user_attrs)
    return trials[retry.user_attrs["retry_of"]], retry


def _cache_of(workplace: Workplace) -> Path:
    return workplace.folder / "transfer-search.cache"


def _trials(workplace: Workplace, name: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=workplace.storage).trials


def test_the_ledgers_tables_are_one_set(searched: Workplace) -> None:
    """A joined database: what Optuna made and what is ours do not get in each other's way."""
    engine = sa.create_engine(searched.storage)
    names = {name for name in sa.inspect(engine).get_table_names() if name.startswith("transfer")}
    engine.dispose()
    assert names == {
        f"transfer_{name}"
        for name in (
            *("studies", "scores", "results", "stages", "stage_runs", "leases"),
            *("confirmations", "test_reads", "losses", "slots", "workers", "accounts"),
            "schema",
        )
    }
