"""Encoders: how they are loaded, adapted and saved, and how the pocket encoder is pretrained.

The training loop is in `objectives.training`.
"""
