"""The streams of a minidump, one module each: `write(draft, output)` gives a stream's body."""
