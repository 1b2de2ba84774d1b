"""Parsers: what they read, and that broken input is a `FormatError`."""
