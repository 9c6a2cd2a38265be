"""The tests mirror the tree. Servers are real; nothing of ours is replaced by a stand-in."""
