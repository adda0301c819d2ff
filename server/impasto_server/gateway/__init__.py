"""The front door: takes calls, checks them, hands jobs to the fleet. Never imports torch."""
