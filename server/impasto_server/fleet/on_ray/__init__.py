"""The fleet on a Ray cluster: one actor for each device.

Ray runs in a process of its own, the broker (`__main__`), because a driver of Ray ends its process when the
cluster's head is gone for a minute, or when the machine's own Ray process dies. The gateway survives both.
Ray's part is to find machines with room, to start an actor there, and to start it again after a failure.
Everything else goes directly between gateway and worker: jobs, pictures, checkpoints, previews and results.
"""
