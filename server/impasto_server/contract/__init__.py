"""Conversions between wire messages and our types: errors, recipes, previews, formats, images.

Imports only the generated code and the table of recipe fields, so that gateway and worker can share it.
"""
