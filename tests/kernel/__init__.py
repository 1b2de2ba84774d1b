"""The modules of a Debian kernel: code that never uses a red zone, and much of it."""
