"""What can be searched: tasks, studies, recipes and the dimensions between them.

Pure Python: no torch, no SQL, no network. Optuna is seen only as the `trial` that
`spaces.dimensions.suggest_recipe` is given.
"""
