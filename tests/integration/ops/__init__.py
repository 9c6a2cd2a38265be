"""What operators use: commands, logs, metrics, traces, the HTTP side of a node."""
