"""The rules of chat as pure functions over frozen structs: commands, events, state, permissions.

No clock, no I/O, no environment, no wire format.
"""
