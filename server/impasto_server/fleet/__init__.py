"""Who paints: worker processes and their restarts, the stays of jobs on devices, and who is placed where.

Uses `jobs`, `store` and `contract`; what happens on the device itself is the worker's.
"""
