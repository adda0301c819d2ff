"""Starts the workers, keeps them alive and spreads the jobs over them. Never imports torch."""
