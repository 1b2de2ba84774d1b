"""Each module by itself, in the folders that its own folders are called."""
