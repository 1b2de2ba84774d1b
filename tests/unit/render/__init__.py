"""Reports and answers as text and JSON."""
