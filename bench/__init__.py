"""The benchmark: one load generator, OnRecord and its peers in one run, and a table. See docs/explanation/speed.md."""
