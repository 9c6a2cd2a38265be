"""The rules of a chat as pure functions over frozen structs: no clock, no I/O, no environment."""
