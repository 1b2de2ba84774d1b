"""What stacks and memory tell beyond themselves, in processes that are made up."""
