"""Rooms on the page: made, entered, left, and what is done with their messages."""
