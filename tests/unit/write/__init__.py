"""Minidumps that are written, part by part."""
