"""The benchmark: one load generator, OnRecord and its peers in the same run, and a table. See docs/explanation/speed.md."""
