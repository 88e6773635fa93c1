"""The ledger: what Optuna has no place for, in the same database.

Scores belong to a checkpoint (by its key), not to a trial, so that an evaluation is kept once
however many trials and studies need it; a trial's results point at its checkpoints, in a
confirmation at those of its baselines too. Trial parameters, states and values stay in Optuna and
are not repeated here.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from storage.leases import Lease, LeaseLost
from storage.outages import outlasting
from storage.outbox import Outbox, StrangeEntryError
from storage.paired_scores import read_outcomes, read_pairs
from storage.tables import (
    CONFIRMATIONS,
    LOSSES,
    RESULTS,
    SCORE_COLUMNS,
    SCORES,
    STAGE_RUNS,
    STAGES,
    STUDIES,
    TEST_READS,
    Confirmation,
    PairedScore,
    Score,
    ScorePlace,
    SeenTestSplit,
    StageRun,
    TrainedStage,
)
from storage.trial_results import record_results

# What a table or a record says of fields that it has not, or of values that it does not take.
_STRANGE = (
    *(KeyError, TypeError, AttributeError, sa.exc.CompileError),
    *(sa.exc.IntegrityError, sa.exc.DataError, sa.exc.ProgrammingError),
)


class Ledger:
    """The ledger's tables in the database of `engine`.

    Safe to share between processes: every row is written once, in a transaction, and a second
    writer of the same row is ignored. What must not be lost, scores and a trial's results, goes
    through the outbox.

    Args:
        engine: Engine of the study's database.
        outbox: This machine's outbox for the database; None for those that only read.
    """

    def __init__(self, engine: sa.Engine, outbox: Outbox | None = None) -> None:
        self._engine = engine
        self._outbox = outbox

    def freeze_study(
        self, study_name: str, frozen: Mapping[str, Any], study_id: str | None = None
    ) -> dict[str, Any]:
        """Keep what defines a study, once.

        Args:
            study_name: Name of the study.
            frozen: The definition in JSON's types.
            study_id: Id that the study keeps in Optuna, too; default: one that nobody else has.

        Returns:
            The definition that was kept first: `frozen`, or that of an earlier run.
        """
        row = {"study_name": study_name, "frozen": dict(frozen), "created_at": _now()}
        self._insert_new(STUDIES, [{**row, "study_id": study_id or uuid.uuid4().hex}])
        kept = self.frozen_study(study_name)
        assert kept is not None, study_name
        return kept

    @outlasting
    def names(self) -> dict[str, str]:
        """The id of each study that is kept -> its name here."""
        with self._engine.connect() as connection:
            query = sa.select(STUDIES.c.study_id, STUDIES.c.study_name)
            return {study_id: name for study_id, name in connection.execute(query)}

    @outlasting
    def frozen_study(self, study_name: str) -> dict[str, Any] | None:
        """What `freeze_study` kept, or None."""
        with self._engine.connect() as connection:
            query = sa.select(STUDIES.c.frozen).where(STUDIES.c.study_name == study_name)
            frozen = connection.execute(query).scalar()
            return None if frozen is None else dict(frozen)

    @outlasting
    def scores(self, checkpoint_key: str, split: str) -> dict[tuple[str, str, str], Score]:
        """The checkpoint's scores on a split, by (task, language, corpus_key)."""
        query = sa.select(*SCORE_COLUMNS).where(
            SCORES.c.checkpoint_key == checkpoint_key, SCORES.c.split == split
        )
        with self._engine.connect() as connection:
            scores = [Score(**row) for row in connection.execute(query).mappings()]
        return {(score.task, score.language, score.corpus_key): score for score in scores}

    def record_stage(
        self,
        stage: TrainedStage,
        scores: Sequence[Score],
        lease: Lease | None = None,
        losses: Sequence[float] = (),
    ) -> None:
        """Keep the cost of a stage and its scores, all or none; what is there already stays.

        Args:
            stage: The stage that was trained.
            scores: Scores of its checkpoint.
            lease: Lease to confirm in the same transaction, if the scores are all that is
                published.
            losses: Mean training loss of each epoch; empty if they are not known.

        Raises:
            LeaseLost: Another worker has the lease; no score is kept.
        """
        content = {
            "stage": asdict(stage),
            "scores": [score.as_json() for score in scores],
            "losses": list(losses),
        }
        with self._kept("scores", content):
            self._record_stage(stage, scores, lease, losses)

    @outlasting
    def _record_stage(
        self,
        stage: TrainedStage,
        scores: Sequence[Score],
        lease: Lease | None,
        losses: Sequence[float],
    ) -> None:
        query = sa.select(STAGES.c.updates).where(STAGES.c.checkpoint_key == stage.checkpoint_key)
        with self._engine.connect() as connection:
            is_known = connection.execute(query).scalar() is not None
        if not is_known:
            self._insert_new(STAGES, [asdict(stage)])
            if losses:
                row = {"checkpoint_key": stage.checkpoint_key, "by_epoch": list(losses)}
                self._insert_new(LOSSES, [row])
        new = self._new_scores(stage.checkpoint_key, scores)
        try:
            with self._engine.begin() as connection:
                if lease is not None:
                    lease.confirm(connection)
                for score in new:
                    connection.execute(sa.insert(SCORES), asdict(score))
        except sa.exc.IntegrityError:
            if len(self._new_scores(stage.checkpoint_key, scores)) == len(new):
                raise
            # Another process recorded some of them between our look and our write.
            self._record_stage(stage, scores, lease, losses)

    @outlasting
    def losses(self, checkpoint_keys: Collection[str]) -> dict[str, list[float]]:
        """The mean training loss of each epoch of stages: checkpoint key -> losses in order."""
        query = sa.select(LOSSES).where(LOSSES.c.checkpoint_key.in_(checkpoint_keys))
        with self._engine.connect() as connection:
            return {key: list(losses) for key, losses in connection.execute(query)}

    @outlasting
    def trained_stages(self, study_name: str) -> dict[str, TrainedStage]:
        """The cost of each stage that a study needed: checkpoint key -> stage."""
        needed = sa.select(STAGE_RUNS.c.checkpoint_key).where(
            STAGE_RUNS.c.study_name == study_name
        )
        query = sa.select(STAGES).where(STAGES.c.checkpoint_key.in_(needed))
        with self._engine.connect() as connection:
            stages = [TrainedStage(**row) for row in connection.execute(query).mappings()]
        return {stage.checkpoint_key: stage for stage in stages}

    def record_stage_run(self, study_name: str, trial_number: int, run: StageRun) -> None:
        """Keep one stage that a trial needed, as soon as it has it."""
        row = {"study_name": study_name, "trial_number": trial_number, **asdict(run)}
        # With a name of its own, so that it is written once also where an outage cuts us off.
        self._insert_new(STAGE_RUNS, [row | {"token": uuid.uuid4().hex}])

    def record_trial(
        self,
        study_name: str,
        trial_number: int,
        pairs: Sequence[PairedScore],
        lease: Lease | None = None,
    ) -> None:
        """Keep the scores of a trial on a split, all or nothing.

        A second call for the same trial, split and seeds is ignored.

        Args:
            study_name: Name of the study.
            trial_number: Number of the trial in Optuna.
            pairs: Scores of the trial.
            lease: Lease of the trial's slot, confirmed in the same transaction.

        Raises:
            LeaseLost: Another worker has the slot; nothing is kept.
        """
        of_trial = {"study_name": study_name, "trial_number": trial_number}
        results = [of_trial | pair.as_row() for pair in pairs]
        content: dict[str, Any] = {"results": results}
        if lease is not None:
            content |= {"lease_key": lease.key, "fence": lease.fence}
        with self._kept("results", content):
            record_results(self._engine, results, lease)

    def deliver(self) -> int:
        """Bring what dead processes of this machine left in the outbox; returns how many entries.

        Results of a slot that another worker has taken since are dropped: that one has, or will
        have, its own.
        """
        return 0 if self._outbox is None else self._outbox.deliver(self._take)

    def _take(self, kind: str, content: Mapping[str, Any]) -> None:
        """Record one entry of the outbox.

        Raises:
            StrangeEntryError: It has not what its kind has, or is of no known kind.
        """
        try:
            if kind == "scores":
                scores = [Score.from_json(score) for score in content["scores"]]
                stage = TrainedStage(**content["stage"])
                self._record_stage(stage, scores, None, content["losses"])
            elif kind == "results":
                fence = content.get("fence")
                left_under = None if fence is None else (content["lease_key"], fence)
                record_results(self._engine, content["results"], None, left_under)
            else:
                raise StrangeEntryError(f"its kind is {kind[:40]!r}")
        except _STRANGE as error:
            raise StrangeEntryError(f"it has not what {kind[:40]!r} has") from error

    def _kept(self, kind: str, content: Mapping[str, Any]) -> AbstractContextManager[None]:
        if self._outbox is None:
            return nullcontext()
        return self._outbox.keeping(kind, content, LeaseLost)

    @outlasting
    def recorded_trials(self, study_name: str) -> set[int]:
        """The numbers of the trials whose results are kept."""
        query = (
            sa.select(RESULTS.c.trial_number).where(RESULTS.c.study_name == study_name).distinct()
        )
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    @outlasting
    def pairs(
        self, study_name: str, split: str, trial_number: int | None = None
    ) -> dict[int, list[PairedScore]]:
        """Scores of trials on a split: trial number -> scores by seed, task, language.

        Args:
            study_name: Name of the study.
            split: validation, which the search saw, or test, on which leaders are confirmed.
            trial_number: Number of the only trial to read; None: all.
        """
        with self._engine.connect() as connection:
            return read_pairs(connection, study_name, split, trial_number)

    @outlasting
    def stage_runs(self, study_name: str) -> dict[int, list[StageRun]]:
        """All stages that a study's trials asked for: trial number -> runs in order."""
        query = (
            sa.select(STAGE_RUNS)
            .where(STAGE_RUNS.c.study_name == study_name)
            .order_by(STAGE_RUNS.c.trial_number, STAGE_RUNS.c.id)
        )
        runs: dict[int, list[StageRun]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                fields = {k: v for k, v in row.items() if k in StageRun.__dataclass_fields__}
                runs.setdefault(row["trial_number"], []).append(StageRun(**fields))
        return runs

    @outlasting
    def outcomes(self, scores: Iterable[Score]) -> dict[ScorePlace, bytes]:
        """Outcomes of the examples of each of these scores, packed."""
        with self._engine.connect() as connection:
            return read_outcomes(connection, scores)

    def begin_confirmation(
        self, study_name: str, look: int, plan: Mapping[str, Any]
    ) -> Confirmation:
        """Keep what will be confirmed, and how, before any test split is read.

        Args:
            study_name: Name of the study.
            look: Number of the look, from 1.
            plan: The plan in JSON's types.

        Returns:
            The look that was kept first under that number.
        """
        row = {"study_name": study_name, "look": look, "begun_at": _now(), "plan": dict(plan)}
        self._insert_new(CONFIRMATIONS, [{**row, "result": None, "is_final": False}])
        return next(x for x in self.confirmations(study_name) if x.look == look)

    @outlasting
    def keep_confirmation(
        self, study_name: str, look: int, result: Mapping[str, Any], *, is_final: bool
    ) -> None:
        """Keep what a look has found up to now; a final result that is there already stays.

        Args:
            study_name: Name of the study.
            look: Number of the look.
            result: The result in JSON's types.
            is_final: Whether nothing will be added to it.
        """
        row = sa.and_(CONFIRMATIONS.c.study_name == study_name, CONFIRMATIONS.c.look == look)
        update = sa.update(CONFIRMATIONS).where(row, CONFIRMATIONS.c.is_final.is_(False))
        with self._engine.begin() as connection:
            connection.execute(update.values(result=dict(result), is_final=is_final))

    @outlasting
    def confirmations(self, study_name: str) -> list[Confirmation]:
        """All looks at the test split of a study, in order."""
        columns = [CONFIRMATIONS.c[x] for x in Confirmation.__dataclass_fields__]
        query = (
            sa.select(*columns)
            .where(CONFIRMATIONS.c.study_name == study_name)
            .order_by(CONFIRMATIONS.c.look)
        )
        with self._engine.connect() as connection:
            return [Confirmation(**row) for row in connection.execute(query).mappings()]

    def record_test_read(self, study_name: str, command: str, what: str) -> None:
        """Keep that something of a study's test splits was shown beside its confirmations.

        Args:
            study_name: Name of the study.
            command: predict, evaluate or export.
            what: What was shown, in words.
        """
        row = {"study_name": study_name, "read_at": _now("microseconds"), "command": command}
        self._insert_new(TEST_READS, [{**row, "what": what[:255], "token": uuid.uuid4().hex}])

    @outlasting
    def test_reads(self, study_name: str) -> list[SeenTestSplit]:
        """What of a study's test splits was shown beside its confirmations, in order of time."""
        query = (
            sa.select(TEST_READS.c.read_at, TEST_READS.c.command, TEST_READS.c.what)
            .where(TEST_READS.c.study_name == study_name)
            .order_by(TEST_READS.c.read_at, TEST_READS.c.token)
        )
        with self._engine.connect() as connection:
            return [SeenTestSplit(**row) for row in connection.execute(query).mappings()]

    @outlasting
    def frozen_studies(self) -> dict[str, dict[str, Any]]:
        """What `freeze_study` kept of every study of the database, by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(STUDIES.c.study_name, STUDIES.c.frozen))
            return {name: dict(frozen) for name, frozen in rows}

    def _new_scores(self, checkpoint_key: str, scores: Sequence[Score]) -> list[Score]:
        """The scores that are not in the ledger yet."""
        known = {
            score.place
            for split in {score.split for score in scores}
            for score in self.scores(checkpoint_key, split).values()
        }
        return [score for score in scores if score.place not in known]

    @outlasting
    def _insert_new(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert each row whose primary key is not there yet, in a transaction of its own.

        In SQL that SQLite and PostgreSQL share.
        """
        for row in rows:
            try:
                with self._engine.begin() as connection:
                    connection.execute(sa.insert(table), row)
            except sa.exc.IntegrityError:
                continue  # another worker wrote it first


def _now(timespec: str = "seconds") -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec=timespec)
