"""The gRPC front end: calls, access control, limits, settings, and the process that runs the server.

Combines `fleet`, `jobs`, `store` and `contract`. Does not import torch.
"""
