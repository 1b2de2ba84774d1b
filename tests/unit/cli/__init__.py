"""Commands as a user calls them, in this process."""
