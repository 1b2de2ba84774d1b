"""Whole outputs as files, to be read by a person when they change."""
