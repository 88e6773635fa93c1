"""Stages of a recipe: what determines their weights, and how each is trained or found.

The loop over seeds and targets is `objectives.transfer`; the loop over batches is
`objectives.training`.
"""
