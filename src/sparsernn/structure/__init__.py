"""What can be zero: layouts, groups, masks, budgets and compaction; tensors and names only."""
