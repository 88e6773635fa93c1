"""The ledger: what Optuna has no place for, in the same database.

Scores belong to a checkpoint (by its key), not to a trial, so that an evaluation is kept once
however many trials and studies need it; a trial's results point at two checkpoints, its own and
its baseline's. Trial parameters, states and values stay in Optuna and are not repeated here.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from storage.backends import create_together

_tables = sa.MetaData()

_studies = sa.Table(
    "transfer_studies",
    _tables,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("frozen", sa.JSON, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
_scores = sa.Table(
    "transfer_scores",
    _tables,
    sa.Column("checkpoint_key", sa.String(64), primary_key=True),
    sa.Column("corpus_key", sa.String(64), primary_key=True),
    sa.Column("task", sa.String(128), primary_key=True),
    sa.Column("language", sa.String(3), primary_key=True),
    sa.Column("split", sa.String(10), primary_key=True),
    sa.Column("metric", sa.String(32), nullable=False),
    sa.Column("score", sa.Float(53), nullable=False),
    sa.Column("examples", sa.Integer, nullable=False),
    sa.Column("lost_words", sa.Integer, nullable=False),
    sa.Column("unscored_examples", sa.Integer, nullable=False),
)
_results = sa.Table(
    "transfer_results",
    _tables,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("seed", sa.Integer, primary_key=True),
    sa.Column("task", sa.String(128), primary_key=True),
    sa.Column("language", sa.String(3), primary_key=True),
    sa.Column("split", sa.String(10), primary_key=True),
    sa.Column("corpus_key", sa.String(64), nullable=False),
    sa.Column("checkpoint_key", sa.String(64), nullable=False),
    sa.Column("baseline_key", sa.String(64), nullable=False),
)
_stage_runs = sa.Table(
    "transfer_stage_runs",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_name", sa.String(255), nullable=False, index=True),
    sa.Column("trial_number", sa.Integer, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("position", sa.String(16), nullable=False),
    sa.Column("task", sa.String(128), nullable=False),
    sa.Column("checkpoint_key", sa.String(64), nullable=False),
    sa.Column("parent_key", sa.String(64), nullable=False),
    sa.Column("reused", sa.Boolean, nullable=False),
    sa.Column("updates", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("precision", sa.String(16), nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
)


@dataclass(frozen=True)
class Score:
    """How one checkpoint does on one split of one language.

    Attributes:
        checkpoint_key: The trained stage.
        corpus_key: Fingerprint of the examples scored.
        task: Name in the catalogue.
        language: ISO 639-3.
        split: validation or test.
        metric: Name of the metric.
        score: In [0, 1] (a correlation: in [-1, 1]).
        examples: How many were scored.
        lost_words: Words that no sub-word stands for (cut off at max_length, or unknown to the
            tokenizer); they count as wrong.
        unscored_examples: Left out because the source language has not their label.
    """

    checkpoint_key: str
    corpus_key: str
    task: str
    language: str
    split: str
    metric: str
    score: float
    examples: int
    lost_words: int
    unscored_examples: int


@dataclass(frozen=True)
class StageRun:
    """One stage that a trial needed, trained or found.

    Attributes:
        seed: The seed it was trained with.
        position: intermediate, target or baseline.
        task: Name in the catalogue.
        checkpoint_key: The stage's content address.
        parent_key: The checkpoint it started from; the backbone's fingerprint at the root.
        reused: Whether it was found rather than trained.
        updates: Optimizer steps that its training took.
        seconds: What the trial spent on it.
        device: Where.
        precision: float32 or bfloat16 (autocast).
        versions: Package -> version.
    """

    seed: int
    position: str
    task: str
    checkpoint_key: str
    parent_key: str
    reused: bool
    updates: int
    seconds: float
    device: str
    precision: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class PairedScore:
    """One language of one seed of a trial: with the intermediate stage, and without.

    Attributes:
        seed: Of both trainings.
        score: With the intermediate stage.
        baseline: Without it.
    """

    seed: int
    score: Score
    baseline: Score

    @property
    def gain(self) -> float:
        """Percentage points: 100 x (score - baseline)."""
        return 100 * (self.score.score - self.baseline.score)


class Ledger:
    """The ledger's tables in the database of `engine`; made on first use.

    Safe to share between processes: every row is written once, in a transaction, and a second
    writer of the same row is ignored.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        create_together(lambda: _tables.create_all(engine))

    def freeze_study(self, study_name: str, frozen: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what defines a study, once.

        Returns:
            What was kept first: `frozen`, or what an earlier run wrote.
        """
        row = {"study_name": study_name, "frozen": dict(frozen), "created_at": _now()}
        self._insert_new(_studies, [row])
        found = self.frozen_study(study_name)
        assert found is not None, study_name
        return found

    def frozen_study(self, study_name: str) -> dict[str, Any] | None:
        """What `freeze_study` kept, or None."""
        with self._engine.connect() as connection:
            query = sa.select(_studies.c.frozen).where(_studies.c.study_name == study_name)
            found = connection.execute(query).scalar()
            return None if found is None else dict(found)

    def forget_study(self, study_name: str) -> None:
        """Drop a study's rows, for a study that was deleted in Optuna; scores stay."""
        with self._engine.begin() as connection:
            for table in (_studies, _results, _stage_runs):
                connection.execute(sa.delete(table).where(table.c.study_name == study_name))

    def scores(self, checkpoint_key: str, split: str) -> dict[tuple[str, str, str], Score]:
        """The checkpoint's scores on a split, by (task, language, corpus_key)."""
        query = sa.select(_scores).where(
            _scores.c.checkpoint_key == checkpoint_key, _scores.c.split == split
        )
        with self._engine.connect() as connection:
            found = [Score(**row) for row in connection.execute(query).mappings()]
        return {(score.task, score.language, score.corpus_key): score for score in found}

    def record_scores(self, scores: Iterable[Score]) -> None:
        """Keep scores; those that are there already stay as they are."""
        self._insert_new(_scores, [asdict(score) for score in scores])

    def record_trial(
        self,
        study_name: str,
        trial_number: int,
        pairs: Sequence[PairedScore],
        stage_runs: Sequence[StageRun],
    ) -> None:
        """Keep what a trial found, all or nothing; a second call for the same trial is ignored."""
        trial = {"study_name": study_name, "trial_number": trial_number}
        results = [
            {
                **trial,
                "seed": pair.seed,
                "task": pair.score.task,
                "language": pair.score.language,
                "split": pair.score.split,
                "corpus_key": pair.score.corpus_key,
                "checkpoint_key": pair.score.checkpoint_key,
                "baseline_key": pair.baseline.checkpoint_key,
            }
            for pair in pairs
        ]
        try:
            with self._engine.begin() as connection:
                if not self._has_results(connection, study_name, trial_number):
                    for row in results:
                        connection.execute(sa.insert(_results), row)
                    for run in stage_runs:
                        connection.execute(sa.insert(_stage_runs), {**trial, **asdict(run)})
        except sa.exc.IntegrityError:
            with self._engine.connect() as connection:
                if not self._has_results(connection, study_name, trial_number):
                    raise
            # Another process recorded the trial between our look and our write.

    def pairs(self, study_name: str) -> dict[int, list[PairedScore]]:
        """What the search saw: trial number -> its paired scores, by seed, task, language."""
        own, base = _scores.alias("own"), _scores.alias("base")

        def joined(scores: sa.FromClause, key: sa.Column[str]) -> sa.ColumnElement[bool]:
            return sa.and_(
                scores.c.checkpoint_key == key,
                scores.c.corpus_key == _results.c.corpus_key,
                scores.c.task == _results.c.task,
                scores.c.language == _results.c.language,
                scores.c.split == _results.c.split,
            )

        columns: list[sa.ColumnElement[Any]] = [_results.c.trial_number, _results.c.seed]
        for prefix, table in (("own", own), ("base", base)):
            columns += [column.label(f"{prefix}_{column.name}") for column in table.c]
        query = (
            sa.select(*columns)
            .join_from(_results, own, joined(own, _results.c.checkpoint_key))
            .join(base, joined(base, _results.c.baseline_key))
            .where(_results.c.study_name == study_name)
            .order_by(_results.c.trial_number, _results.c.seed, own.c.task, own.c.language)
        )
        found: dict[int, list[PairedScore]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                score, baseline = (
                    Score(**{column.name: row[f"{prefix}_{column.name}"] for column in _scores.c})
                    for prefix in ("own", "base")
                )
                pair = PairedScore(row["seed"], score, baseline)
                found.setdefault(row["trial_number"], []).append(pair)
        return found

    def stage_runs(self, study_name: str) -> dict[int, list[StageRun]]:
        """All stages that a study's trials needed: trial number -> stages in order."""
        query = (
            sa.select(_stage_runs)
            .where(_stage_runs.c.study_name == study_name)
            .order_by(_stage_runs.c.trial_number, _stage_runs.c.id)
        )
        found: dict[int, list[StageRun]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                fields = {k: v for k, v in row.items() if k in StageRun.__dataclass_fields__}
                found.setdefault(row["trial_number"], []).append(StageRun(**fields))
        return found

    def _has_results(self, connection: sa.Connection, study_name: str, trial_number: int) -> bool:
        count = sa.select(sa.func.count()).where(
            _results.c.study_name == study_name, _results.c.trial_number == trial_number
        )
        return connection.execute(count).scalar_one() > 0

    def _insert_new(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert each row whose primary key is not there yet, in a transaction of its own.

        In SQL that every database has: ON CONFLICT and INSERT IGNORE differ between them.
        """
        for row in rows:
            try:
                with self._engine.begin() as connection:
                    connection.execute(sa.insert(table), row)
            except sa.exc.IntegrityError:
                continue  # another worker wrote it first


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
