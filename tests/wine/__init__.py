"""Windows programs in two real versions of Wine: their stacks, and how to stop them there."""
