"""Impasto in GIMP: the dialog, and the reading and writing of GIMP's images."""
