"""Reading the scores of trials beside what they are held against, and the outcomes behind them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from storage.tables import RESULTS, SCORE_COLUMNS, SCORES, PairedScore, Score, ScorePlace

_PREFIXES = ("own", "base", "reference")
# Databases limit how many values are bound.
_KEYS_AT_ONCE = 200


def read_pairs(
    connection: sa.Connection, study_name: str, split: str, trial_number: int | None
) -> dict[int, list[PairedScore]]:
    """Scores of trials on a split: trial number -> scores in the order of seed, task, language.

    Args:
        connection: Connection to the study's database.
        study_name: Name of the study.
        split: validation or test.
        trial_number: Number of the only trial to read; None: all.
    """
    pairs: dict[int, list[PairedScore]] = {}
    for row in connection.execute(_query(study_name, split, trial_number)).mappings():
        own, base, reference = (_score(row, prefix) for prefix in _PREFIXES)
        assert own is not None
        pair = PairedScore(row["seed"], own, reference, base)
        pairs.setdefault(row["trial_number"], []).append(pair)
    return pairs


def read_outcomes(connection: sa.Connection, scores: Iterable[Score]) -> dict[ScorePlace, bytes]:
    """Outcomes of the examples of each of these scores, packed."""
    places = {score.place for score in scores}
    keys = sorted({key for key, *_ in places})
    outcomes: dict[ScorePlace, bytes] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        query = sa.select(SCORES).where(SCORES.c.checkpoint_key.in_(some))
        for row in connection.execute(query).mappings():
            score = Score(**row)
            if score.place in places:
                outcomes[score.place] = score.outcomes
    return outcomes


def _score(row: sa.RowMapping, prefix: str) -> Score | None:
    fields = {column.name: row[f"{prefix}_{column.name}"] for column in SCORE_COLUMNS}
    return None if fields["checkpoint_key"] is None else Score(**fields)


def _query(study_name: str, split: str, trial_number: int | None) -> sa.Select[Any]:
    own, base, reference = tables = tuple(SCORES.alias(prefix) for prefix in _PREFIXES)
    columns: list[sa.ColumnElement[Any]] = [RESULTS.c.trial_number, RESULTS.c.seed]
    for prefix, table in zip(_PREFIXES, tables, strict=True):
        columns += [table.c[x.name].label(f"{prefix}_{x.name}") for x in SCORE_COLUMNS]
    query = (
        sa.select(*columns)
        .join_from(RESULTS, own, _is_score_of(own, RESULTS.c.checkpoint_key))
        .outerjoin(base, _is_score_of(base, RESULTS.c.baseline_key))
        .outerjoin(reference, _is_score_of(reference, RESULTS.c.reference_key))
        .where(RESULTS.c.study_name == study_name, RESULTS.c.split == split)
        .order_by(RESULTS.c.trial_number, RESULTS.c.seed, own.c.task, own.c.language)
    )
    return query if trial_number is None else query.where(RESULTS.c.trial_number == trial_number)


def _is_score_of(scores: sa.FromClause, key: sa.Column[str]) -> sa.ColumnElement[bool]:
    """Whether a row is the score that a result needs of one of its checkpoints."""
    return sa.and_(
        scores.c.checkpoint_key == key,
        scores.c.corpus_key == RESULTS.c.corpus_key,
        scores.c.task == RESULTS.c.task,
        scores.c.language == RESULTS.c.language,
        scores.c.split == RESULTS.c.split,
    )
