"""What Wine keeps about threads, in memory that is made up."""
