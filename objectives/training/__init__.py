"""The training loop, and the part of the embedding matrix that it trains.

Which stages are trained in which order is in `objectives.stages`.
"""
