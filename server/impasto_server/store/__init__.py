"""Durable state: the database of jobs, and the files of images, uploads, checkpoints and results.

Uses only itself and the generated code of the contract. Any thread may call it; `facade` is for event loops.
"""
