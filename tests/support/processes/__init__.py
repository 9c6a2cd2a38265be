"""OnRecord as operating-system processes: started, forked, killed at a failpoint, counted."""
