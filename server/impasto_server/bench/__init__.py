"""Measurements of this machine's speed, and sheets of paintings to judge their quality.

Only the command line imports this package.
"""
