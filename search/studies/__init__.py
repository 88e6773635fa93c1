"""A study as it is stored: its definition, its versions, how it is opened, and its recipes.

What its results mean is in `search.findings`; who works at it is in `search.workers`.
"""
