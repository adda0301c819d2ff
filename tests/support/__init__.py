"""Helpers that the tests share: servers and hosts to start, sample pictures, and programs to run."""
