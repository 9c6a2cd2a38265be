"""The live side: what this node knows right now, and who on it is listening."""
