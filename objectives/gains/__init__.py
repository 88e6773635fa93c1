"""Gains: differences of scores, their intervals and what few seeds allow to say.

Scores themselves are made in `objectives.scores`.
"""
