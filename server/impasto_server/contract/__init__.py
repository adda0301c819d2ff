"""Conversions between messages of the wire and our types: errors, recipes, previews, formats, images.

Uses the generated code and the table of the recipe's fields alone, so that gateway and worker can share it.
"""
