"""Encoders: how they are loaded, adapted and saved.

The training loop is in `objectives.training`.
"""
