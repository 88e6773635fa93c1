"""The workers of a study: one run, its loop, attempts, proposals, heartbeat and progress.

What is stored is in `storage`, what is trained in `objectives`; where other programs own the
process, `search.launch`.
"""
