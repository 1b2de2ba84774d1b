"""`unspool locks` on real programs that wait for each other in known ways."""
