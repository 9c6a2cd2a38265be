"""What a scrape reads: the numbers of a node and of a projector, out of their parts."""
