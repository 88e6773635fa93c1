"""Scores of a model on a corpus: predictions of all kinds of task, metrics, per-example outcomes.

What a difference of two scores means is in `objectives.gains`.
"""
