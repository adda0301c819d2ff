"""Conversions between messages of the wire and our types."""
