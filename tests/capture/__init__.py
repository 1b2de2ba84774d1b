"""Real crashes through the kernel's core handler, beside cores of the very same crashes."""
