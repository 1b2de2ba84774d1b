"""Walks and strategies over stacks that are made up."""
