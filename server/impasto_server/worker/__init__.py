"""A process that owns one device: it decodes images, shares the device among its jobs and codes the pictures.

May use the engine, `contract` and the generated contract; it knows nothing of the store or of callers.
"""
