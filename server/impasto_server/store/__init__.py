"""Durable state: the database of jobs, and the files of images, uploads, checkpoints and results.

May use only itself and the generated contract (`impasto.v1`).
"""
