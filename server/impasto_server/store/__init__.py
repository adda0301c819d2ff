"""Durable state: the database of jobs, and the files of images, uploads, checkpoints and results.

It depends only on the generated code of the contract. Any thread may call it; event loops use `facade`.
"""
