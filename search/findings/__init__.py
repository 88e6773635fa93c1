"""What came of a study, as values: leaders, baselines, verdicts, landscape, costs, comparisons.

Every decision about results is made here and once. Nothing here prints, draws or writes files;
that is `search.reporting`, and `search.handover` for models.
"""
