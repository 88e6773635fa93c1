"""XTREME's own evaluation: its nine tasks, its submission files, and models in its layout.

Nothing here takes part in a search.
"""
