"""What a job is: its recipe, its states, and those who watch it."""
