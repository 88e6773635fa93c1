"""From a recipe to a gain: data, encoding, models, training, metrics.

torch, transformers and datasets; no Optuna. Shapes in docstrings: b examples of a batch,
s sub-words, c classes, d hidden units.
"""
