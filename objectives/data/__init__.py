"""Corpora: where they come from, how they are read, encoded and batched, and where they overlap.

Nothing here knows a model's weights.
"""
