"""The life of a job: what it is, every change of it, who watches it; and the registry of unfinished jobs.

A job owns its life: nothing outside it changes its record. Uses `store` and `contract`, and knows nothing of
gRPC, workers and devices but what its `Painting` tells it.
"""
