"""A study's models handed over: the exported folder, its model card, predictions, their scores.

Which recipe is handed over is decided in `search.findings`, not here.
"""
