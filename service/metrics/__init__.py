"""The numbers to watch: what the parts count, under names that Prometheus keeps."""
