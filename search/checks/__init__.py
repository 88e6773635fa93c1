"""Whether a machine, a database and a study are as they must be: doctor, invariants, chaos.

Nothing imports it but the command `search.doctor` and the benchmarks. What keeps a study right
while it runs is not here but in `search.workers` and `storage`.
"""
