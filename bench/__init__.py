"""Measures unspool beside its peers. See README.md in this directory."""
