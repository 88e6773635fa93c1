"""Callbacks of a run: what they are told, that none fails a trial, and the real trackers."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from search import Study
from search.callbacks import MLflowCallback, TensorBoardCallback, WandbCallback
from search.callbacks.trackers import library
from search.workers.callbacks import Callbacks, FinishedRun, FinishedStage
from spaces.errors import SpecError
from tests.raising import raises
from tests.search_tests.conftest import Workplace

STAGE = FinishedStage("s", "trial", 3, "intermediate", "mnli", 1, 8, 2.0, (1.5, 0.5))
RUN = FinishedRun(
    *("s", "trial", 3, "complete", "", 1),
    params={"intermediate.domain": "general", "intermediate.epochs": 2},
    seconds=4.0,
    score=0.5,
    gain=2.5,
    scores={"panx/swa": 0.5},
    gains={"panx": 2.5},
    stages=(STAGE,),
)
DIVERGED = FinishedRun(
    *("s", "trial", 4, "pruned", "it diverged", 1),
    **{"params": {}, "seconds": 1.0, "score": None, "gain": None},
    **{"scores": {}, "gains": {}, "stages": ()},
)
CUT_OFF = FinishedStage("s", "direct", 5, "target", "panx", 1, 8, 2.0, (1.5,))


class Told:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.stages: list[FinishedStage] = []
        self.runs: list[FinishedRun] = []
        self.ends = 0

    def on_stage(self, stage: FinishedStage) -> None:
        """Note it."""
        self.stages.append(stage)

    def on_run(self, run: FinishedRun) -> None:
        """Note it."""
        self.runs.append(run)

    def on_end(self) -> None:
        """Note it."""
        self.ends += 1


class Away(Told):
    """A tracker that is away."""

    def on_stage(self, stage: FinishedStage) -> None:
        """Fail."""
        raise ConnectionError("the tracker is away")

    def on_run(self, run: FinishedRun) -> None:
        """Fail."""
        raise ConnectionError("the tracker is away")


def study_of(workplace: Workplace) -> Study:
    return Study.open(
        "tiny.toml",
        storage=workplace.storage,
        data="pocket",
        backbone=str(workplace.encoder),
        cache=str(workplace.folder / "transfer-search.cache"),
    )


def test_a_callback_is_told_of_each_new_run_and_one_that_fails_costs_none(
    searched: Workplace,
) -> None:
    told, away = Told(), Away()
    searched.capsys.readouterr()
    with chdir(searched.folder):
        study = study_of(searched)
        study.run(5, [away, told], threads=1)
    said = searched.capsys.readouterr().err
    (run,) = told.runs
    assert (run.study, run.kind, run.run, run.state, run.reason) == (
        *("tiny", "trial", 4),
        *("complete", ""),
    )
    scores = study.scores()
    mine = scores[(scores["kind"] == "trial") & (scores["trial"] == 4)].set_index("language")
    assert run.scores == {f"pocket_ner/{x}": mine["score"][x] for x in ("qaa", "qab")}
    assert run.gain == pytest.approx(mine["gain"].mean())
    assert run.gains == {"pocket_ner": run.gain}
    assert run.seed == mine["seed"].iloc[0]
    assert [x.position for x in run.stages] == ["intermediate", "target"]
    assert told.stages == [x for x in run.stages if x.updates]
    for stage in told.stages:
        epochs = run.params["intermediate.epochs"] if stage.position == "intermediate" else 1
        assert len(stage.losses) == epochs
    assert told.ends == away.ends == 1
    assert said.count("callback Away failed: ConnectionError: the tracker is away") == 1
    assert f"callback Away failed {1 + len(told.stages)} times in all" in said


@pytest.mark.slow
def test_runs_of_further_workers_are_told_of_once(workplace: Workplace) -> None:
    told = Told()
    with chdir(workplace.folder):
        study = study_of(workplace)
        study.run(6, [told], threads=1, workers=2)
    scores = study.scores()
    finished = scores[["kind", "trial"]].drop_duplicates()
    assert sorted((x.kind, x.run) for x in told.runs) == sorted(
        zip(finished["kind"], finished["trial"], strict=True)
    )
    assert {x.state for x in told.runs} == {"complete"}
    assert told.stages == [stage for run in told.runs for stage in run.stages if stage.updates]
    assert told.ends == 1


def test_a_callback_may_end_the_run_by_ctrl_c() -> None:
    class Enough(Told):
        def on_run(self, run: FinishedRun) -> None:
            raise KeyboardInterrupt

    enough = Enough()
    with pytest.raises(KeyboardInterrupt), Callbacks([enough]).until_the_end() as told:
        told.on_run(RUN)
    assert enough.ends == 1


def test_a_failing_callback_has_its_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Told()
    with (
        caplog.at_level(logging.WARNING, "search"),
        Callbacks([Away(), told]).until_the_end() as x,
    ):
        x.on_stage(STAGE)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert told.stages == [STAGE]


def test_a_tracker_that_is_not_installed_is_said_when_the_callback_is_made() -> None:
    with raises(SpecError, found="none", advice="pip install 'transfer-search[wandb]'"):
        library("wandb_that_nobody_has", "wandb")


def tell(callback: Any) -> None:
    """A run with a stage, one that diverged, and one that was cut off."""
    with Callbacks([callback]).until_the_end() as told:
        told.on_stage(STAGE)
        told.on_run(RUN)
        told.on_run(DIVERGED)
        told.on_stage(CUT_OFF)


@pytest.mark.slow
def test_mlflow_keeps_runs_in_its_file_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow", reason="the extra 'mlflow' is not installed")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (tmp_path / "mlruns").as_uri()
    tell(MLflowCallback(tracking_uri=store))
    assert not caplog.records
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("s")
    found = {x.info.run_name: x for x in client.search_runs([experiment.experiment_id])}
    assert {name: x.info.status for name, x in found.items()} == {
        "trial 3": "FINISHED",
        "trial 4": "FAILED",
        "direct 5": "KILLED",
    }
    run = found["trial 3"]
    assert run.data.params["intermediate.epochs"] == "2"
    assert {x: run.data.metrics[x] for x in ("gain", "gains/panx", "scores/panx/swa")} == {
        "gain": 2.5,
        "gains/panx": 2.5,
        "scores/panx/swa": 0.5,
    }
    history = client.get_metric_history(run.info.run_id, "loss/intermediate/mnli")
    assert [(x.step, x.value) for x in history] == [(1, 1.5), (2, 0.5)]
    assert found["trial 4"].data.tags["reason"] == "it diverged"


@pytest.mark.slow
def test_tensorboard_reads_the_event_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(TensorBoardCallback(tmp_path))
    assert not caplog.records

    def scalars(folder: Path) -> Mapping[str, list[tuple[int, float]]]:
        read = EventAccumulator(str(folder)).Reload()
        names = read.Tags()["scalars"]
        return {name: [(x.step, x.value) for x in read.Scalars(name)] for name in names}

    run = scalars(tmp_path / "s" / "trial-3")
    assert run["loss/intermediate/mnli"] == [(1, 1.5), (2, 0.5)]
    assert run["scores/panx/swa"] == [(0, 0.5)]
    assert run["gain"][0] == (0, 2.5)
    assert scalars(tmp_path / "s")["study/gain"] == [(3, 2.5)]
    assert scalars(tmp_path / "s" / "direct-5")["loss/target/panx"] == [(1, 1.5)]


@pytest.mark.slow
def test_weights_and_biases_keeps_runs_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra 'wandb' is not installed")
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "250")  # its process starts beside other tests
    tell(WandbCallback(mode="offline", folder=tmp_path))
    wandb.teardown()  # its process may still be writing what has ended
    assert not caplog.records
    found = {}
    for file in tmp_path.glob("wandb/offline-run-*/run-*.wandb"):
        run = read_offline(file)
        found[run["name"]] = run
    assert set(found) == {"trial 3", "trial 4", "direct 5"}
    run = found["trial 3"]
    assert (run["group"], run["job_type"]) == ("s", "trial")
    assert run["config"]["intermediate.epochs"] == "2"
    assert run["losses"] == ["1.5", "0.5"]
    assert (run["summary"]["gain"], run["summary"]["scores/panx/swa"]) == ("2.5", "0.5")
    assert found["trial 4"]["summary"]["reason"] == '"it diverged"'
    assert [found[x]["exit_code"] for x in ("trial 3", "trial 4", "direct 5")] == [0, 0, 1]


def read_offline(file: Path) -> dict[str, Any]:
    """What `wandb sync` would send of a run."""
    from wandb.proto.wandb_internal_pb2 import Record

    run: dict[str, Any] = {"config": {}, "summary": {}, "losses": []}
    for data in logged(file):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            run |= {
                "name": record.run.display_name,
                "group": record.run.run_group,
                "job_type": record.run.job_type,
            }
        for kind in ("config", "summary"):
            for update in getattr(record, kind).update:
                run[kind][update.key or ".".join(update.nested_key)] = update.value_json
        for item in record.history.item:
            if (item.key or ".".join(item.nested_key)).startswith("loss/"):
                run["losses"].append(item.value_json)
        if record.HasField("exit"):
            run["exit_code"] = record.exit.exit_code
    return run


def logged(file: Path) -> list[bytes]:
    """The records of a file of W&B's.

    After 7 bytes of its own it is a log of LevelDB's: blocks of 32 KiB, in which each piece has a
    checksum, its length and whether it begins (1, 2) and ends (1, 4) a record
    (https://github.com/google/leveldb/blob/main/doc/log_format.md).
    """
    data, place, records, pieces = file.read_bytes(), 7, [], b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # no room for a head: the rest of the block is empty
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        pieces = (b"" if kind in {1, 2} else pieces) + data[place + 7 : place + 7 + length]
        if kind in {1, 4}:
            records.append(pieces)
        place += 7 + length
    return records
