"""What is remembered: the study's database, the ledger of scores, the cache of checkpoints.

SQLAlchemy, Optuna's storages and files; no torch. What a trial is and how it is scored is known
above, in `objectives` and `search`.
"""
