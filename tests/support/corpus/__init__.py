"""The corpus of older versions: how it is kept, read and written."""
