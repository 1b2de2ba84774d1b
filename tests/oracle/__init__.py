"""Real programs, cores and processes beside other tools and what the programs say themselves."""
