"""The evidence of a drill: the history of its clients and the log, arranged for the rules."""
