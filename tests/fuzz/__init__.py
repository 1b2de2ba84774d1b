"""Hostile input: cut, mutated and lying files cost an answer, never more than that."""
