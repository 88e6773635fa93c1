"""Studies from Python: the requests of the commands, made by a notebook or a script."""
