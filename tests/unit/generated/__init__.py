"""Code that programs make, in memory that is made up."""
