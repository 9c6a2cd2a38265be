"""Rooms, messages, read markers, presence and history, over one node and two."""
