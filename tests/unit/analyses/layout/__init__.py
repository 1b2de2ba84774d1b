"""Address spaces that are made up: areas, names, rules."""
