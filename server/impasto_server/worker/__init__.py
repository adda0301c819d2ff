"""The process that owns one device: it shares the device among its jobs and encodes their previews.

It uses `engine` and `contract`. It knows only what the gateway sends about a job, and it trusts every process
that can reach its socket.
"""
