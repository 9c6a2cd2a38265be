"""The benchmark: one load generator measures OnRecord and its peers in one run. See docs/explanation/speed.md."""
