"""The service: studies opened, trials run, results shown. Optuna and the command line."""
