"""Our own tables beside Optuna's, and what a row of the ledger's is to the rest of the program.

Any change of a table, or of what a column holds, raises `storage.schema.VERSION`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

TABLES = sa.MetaData()

STUDIES = sa.Table(
    "transfer_studies",
    TABLES,
    sa.Column("study_name", sa.String(255), primary_key=True),
    # The same as in Optuna, where a study may be given another name.
    sa.Column("study_id", sa.String(64), nullable=False, unique=True),
    sa.Column("frozen", sa.JSON, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
SCORES = sa.Table(
    "transfer_scores",
    TABLES,
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
    sa.Column("setting", sa.String(64), nullable=False),
    sa.Column("outcomes", sa.LargeBinary, nullable=False),
)
RESULTS = sa.Table(
    "transfer_results",
    TABLES,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("trial_number", sa.Integer, primary_key=True),
    sa.Column("seed", sa.Integer, primary_key=True),
    sa.Column("task", sa.String(128), primary_key=True),
    sa.Column("language", sa.String(3), primary_key=True),
    sa.Column("split", sa.String(10), primary_key=True),
    sa.Column("corpus_key", sa.String(64), nullable=False),
    sa.Column("checkpoint_key", sa.String(64), nullable=False),
    # Of a confirmation alone, which trains both anew for each seed.
    sa.Column("baseline_key", sa.String(64)),
    sa.Column("reference_key", sa.String(64)),
)
CONFIRMATIONS = sa.Table(
    "transfer_confirmations",
    TABLES,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("look", sa.Integer, primary_key=True),
    sa.Column("begun_at", sa.String(32), nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("is_final", sa.Boolean, nullable=False),
)
TEST_READS = sa.Table(
    "transfer_test_reads",
    TABLES,
    sa.Column("token", sa.String(32), primary_key=True),
    sa.Column("study_name", sa.String(255), nullable=False, index=True),
    sa.Column("read_at", sa.String(32), nullable=False),
    sa.Column("command", sa.String(16), nullable=False),
    sa.Column("what", sa.String(255), nullable=False),
)
STAGES = sa.Table(
    "transfer_stages",
    TABLES,
    sa.Column("checkpoint_key", sa.String(64), primary_key=True),
    sa.Column("parent_key", sa.String(64), nullable=False),
    sa.Column("task", sa.String(128), nullable=False),
    sa.Column("updates", sa.Integer, nullable=False),
    sa.Column("training_seconds", sa.Float(53), nullable=False),
    sa.Column("scoring_seconds", sa.Float(53), nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("precision", sa.String(16), nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
)
LOSSES = sa.Table(
    "transfer_losses",
    TABLES,
    sa.Column("checkpoint_key", sa.String(64), primary_key=True),
    sa.Column("by_epoch", sa.JSON, nullable=False),
)
STAGE_RUNS = sa.Table(
    "transfer_stage_runs",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token", sa.String(32), nullable=False, unique=True),
    sa.Column("study_name", sa.String(255), nullable=False, index=True),
    sa.Column("trial_number", sa.Integer, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("position", sa.String(16), nullable=False),
    sa.Column("task", sa.String(128), nullable=False),
    sa.Column("checkpoint_key", sa.String(64), nullable=False),
    sa.Column("updates_asked", sa.Integer, nullable=False),
    sa.Column("updates_trained", sa.Integer, nullable=False),
    sa.Column("training_seconds", sa.Float(53), nullable=False),
    sa.Column("scoring_seconds", sa.Float(53), nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False),
)
LEASES = sa.Table(
    "transfer_leases",
    TABLES,
    sa.Column("lease_key", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.Float(53), nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
)
SLOTS = sa.Table(
    "transfer_slots",
    TABLES,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lease_key", sa.String(64), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("recipe_key", sa.String(64)),
    # NULL is unlike NULL: a closed slot is in nobody's way.
    sa.UniqueConstraint("study_name", "recipe_key", name="uq_transfer_slots_recipe"),
)
WORKERS = sa.Table(
    "transfer_workers",
    TABLES,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("worker", sa.String(255), primary_key=True),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("started_at", sa.Float(53), nullable=False),
    sa.Column("seen_at", sa.Float(53), nullable=False),
    sa.Column("slot", sa.Integer),
    sa.Column("doing", sa.String(255), nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
)
ACCOUNTS = sa.Table(
    "transfer_accounts",
    TABLES,
    sa.Column("study_name", sa.String(255), primary_key=True),
    sa.Column("active_seconds", sa.Float(53), nullable=False),
    sa.Column("seen_at", sa.Float(53), nullable=False),
    sa.Column("device_seconds", sa.Float(53), nullable=False),
    sa.Column("trials", sa.Integer, nullable=False),
    sa.Column("stops", sa.Integer, nullable=False),
    sa.Column("stop_reason", sa.Text, nullable=False),
)
SCHEMA = sa.Table(
    "transfer_schema",
    TABLES,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)
# Outcomes are a thousand times a score, and only statistics want them.
SCORE_COLUMNS = [column for column in SCORES.c if column.name != "outcomes"]

ScorePlace = tuple[str, str, str, str, str]
"""Checkpoint key, corpus key, task, language, split."""


@dataclass(frozen=True)
class Score:
    """How one checkpoint does on one split of one language.

    Attributes:
        checkpoint_key: Content address of the trained stage.
        corpus_key: Fingerprint of the examples scored.
        task: Name of the task in the catalogue.
        language: ISO 639-3 code of the language.
        split: validation or test.
        metric: Name of the metric.
        score: Score in [0, 1] (a correlation: in [-1, 1]).
        examples: Number of examples scored.
        lost_words: Words that no sub-word stands for (cut off at max_length, or unknown to the
            tokenizer); they count as wrong.
        unscored_examples: Number of examples left out because the source language lacks their
            label.
        setting: What of the target stage was chosen by validation, as in `4 epochs` or
            `layer 7, margin`.
        outcomes: Outcome of each example, and the group that it belongs to
            (`objectives.scores.outcomes.packed`); only `Ledger.outcomes` reads it back.
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
    setting: str = ""
    outcomes: bytes = field(default=b"", repr=False, compare=False)

    @property
    def place(self) -> ScorePlace:
        """Checkpoint, corpus, task, language and split of the score."""
        return self.checkpoint_key, self.corpus_key, self.task, self.language, self.split

    def as_json(self) -> dict[str, Any]:
        """The score in JSON's types."""
        return {**asdict(self), "outcomes": base64.b64encode(self.outcomes).decode()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Score:
        """The score that `as_json` turned into `fields`."""
        return cls(**{**fields, "outcomes": base64.b64decode(fields["outcomes"])})


@dataclass(frozen=True)
class TrainedStage:
    """The cost of making a checkpoint from its parent.

    Attributes:
        checkpoint_key: Content address of the stage.
        parent_key: Content address of the checkpoint it started from; the backbone's fingerprint
            at the root.
        task: Name of the task in the catalogue.
        updates: Optimizer steps, including those of a shorter stage that it continued.
        training_seconds: Wall seconds of these steps.
        scoring_seconds: Wall seconds of scoring it on validation, and the shorter ones on the
            way; 0 for an intermediate stage.
        device: Name of the device it was trained on.
        precision: float32 or bfloat16 (autocast).
        versions: Package name -> version it was trained with.
    """

    checkpoint_key: str
    parent_key: str
    task: str
    updates: int
    training_seconds: float
    scoring_seconds: float
    device: str
    precision: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class StageRun:
    """One stage that a trial needed, and how much of it that trial trained.

    A stage that continues a shorter one is one run with all updates asked for; training the
    shorter one on the way, if need be, is a run of its own with none asked for.

    Attributes:
        seed: Random seed of the training.
        position: intermediate or target; in a confirmation baseline and reference too.
        task: Name of the task in the catalogue.
        checkpoint_key: Content address of the stage.
        updates_asked: Optimizer steps from the parent checkpoint to this one.
        updates_trained: Optimizer steps that the trial took itself.
        training_seconds: Wall seconds that the trial trained.
        scoring_seconds: Wall seconds that the trial scored.
        finished: False for a training without a result: interrupted, diverged, or not saved.
    """

    seed: int
    position: str
    task: str
    checkpoint_key: str
    updates_asked: int
    updates_trained: int
    training_seconds: float
    scoring_seconds: float
    finished: bool


@dataclass(frozen=True)
class PairedScore:
    """A score of a run, in one language, and what it is held against.

    Attributes:
        seed: Random seed shared by all stages of the run.
        score: Score of the run.
        reference: Score of the best direct training of the study: in a search the mean over its
            seeds, in a confirmation that of the same seed; None of a direct training that the
            baseline is still to be chosen from.
        baseline: Score of the same target stage without the intermediate ones; a confirmation
            alone has it.
    """

    seed: int
    score: Score
    reference: Score | None = None
    baseline: Score | None = None

    @property
    def gain(self) -> float:
        """Percentage points: 100 x (score - reference)."""
        assert self.reference is not None, "a gain is over something"
        return 100 * (self.score.score - self.reference.score)

    def as_row(self) -> dict[str, Any]:
        """A row of the results of a trial, without the trial.

        The mean over seeds that a search holds scores against is kept with the baseline.
        """
        is_confirmed = self.baseline is not None
        return {
            "seed": self.seed,
            "task": self.score.task,
            "language": self.score.language,
            "split": self.score.split,
            "corpus_key": self.score.corpus_key,
            "checkpoint_key": self.score.checkpoint_key,
            "baseline_key": self.baseline.checkpoint_key if self.baseline else None,
            "reference_key": (
                self.reference.checkpoint_key if self.reference and is_confirmed else None
            ),
        }


@dataclass(frozen=True)
class Confirmation:
    """One look at the test split of a study.

    Attributes:
        look: Number of the look, from 1.
        begun_at: Time of its begin, UTC, ISO 8601.
        plan: The plan, recorded before any test split was read.
        result: The result up to now; None before the first.
        is_final: Whether nothing will be added to it.
    """

    look: int
    begun_at: str
    plan: Mapping[str, Any]
    result: Mapping[str, Any] | None
    is_final: bool


@dataclass(frozen=True)
class SeenTestSplit:
    """Something of a study's test splits that somebody saw beside its confirmations.

    Attributes:
        read_at: Time, UTC, ISO 8601.
        command: Command that showed it: predict, evaluate or export.
        what: What was shown, in words.
    """

    read_at: str
    command: str
    what: str
