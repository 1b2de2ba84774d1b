"""What `tests.build` makes is what other tools take it for."""
