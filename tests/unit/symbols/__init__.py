"""Names and lines, beside the compilers' own tools; files that are found and refused."""
