"""What a run needs before it starts: built programs, databases with rooms and members, filled logs."""
