"""Worker processes and their restarts, the runs of jobs on devices, and the placement of jobs.

Uses `jobs`, `store` and `contract`. What happens on the device itself is the worker's part.
"""
