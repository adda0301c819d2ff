"""A process that owns one device: decodes images, shares the device among its jobs, codes the pictures."""
