"""The life of a job: its state, its changes and its watchers; and the registry of unfinished jobs.

A job owns its life: nothing outside it changes its record. This package uses `store` and `contract`. It knows
nothing of gRPC, and of workers and devices only what the job's `Painting` reports.
"""
