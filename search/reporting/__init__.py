"""Findings for people: the page, its figures and formats, the terminal's tables, the dashboard.

Nothing here decides anything about results; it shows what `search.findings` found.
"""
