"""The people who have signed in."""
