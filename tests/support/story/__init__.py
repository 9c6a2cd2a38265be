"""A scripted conversation on a running server, from which the examples of the documents are recorded."""
