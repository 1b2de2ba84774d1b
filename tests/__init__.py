"""What is where is in docs/testing.md."""
