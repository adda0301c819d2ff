"""A process that owns one device: decodes images, shares the device among its jobs, codes the pictures.

Uses `engine` and `contract`; knows of jobs what the gateway sends, and trusts whoever reaches its socket.
"""
