"""What a drill leaves to be judged: the history of its clients, and the log, arranged for the rules."""
