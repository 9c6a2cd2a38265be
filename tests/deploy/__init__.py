"""The files of a deployment, checked by their own tools and run as plain processes."""
