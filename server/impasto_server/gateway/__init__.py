"""The gRPC front end: calls, access, limits, settings, and the process that runs it.

Puts `fleet`, `jobs`, `store` and `contract` together; imports no torch.
"""
