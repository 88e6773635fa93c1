"""Colours of all figures, Okabe & Ito's: told apart without red and green.

Their source is https://jfly.uni-koeln.de/color/. Arms differ in their markers too. Where a page is
dark it draws as white what is black here.
"""

from __future__ import annotations

from spaces.studies import ARMS

BLUE, GREEN, PINK, BLACK, VERMILION = "#0072B2", "#009E73", "#B65E91", "#000000", "#D55E00"
ARM_COLOURS = dict(zip(ARMS, (BLACK, BLUE, GREEN, VERMILION, PINK), strict=True))
MARKERS = dict(zip(ARMS, ("x", "circle", "square", "diamond", "triangle-up"), strict=True))
GRID, ZERO, INK = "#e5e5e5", "#777777", "#111111"
LOSS, NOTHING, GAIN = "#f0935a", "#f7f7f7", "#6bb8ea"
"""Ends and middle of a map: so light that black numbers can be read upon each (6:1 or more)."""
