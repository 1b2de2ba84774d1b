"""Downloads from servers of the tests' own, good and bad ones."""
