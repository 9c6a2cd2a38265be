"""Composition: a node and a projector built from the settings, their server, their workers and their metrics.

No rule of chat and no wire format is defined here.
"""
