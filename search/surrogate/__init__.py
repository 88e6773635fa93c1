"""What a study has learnt of its recipes: a Gaussian model, and what to run next by it."""
