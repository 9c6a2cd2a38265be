"""Auditing: reading the record as of any moment, proving it, exporting it, and erasing from it.

Only the log of such reads is a module of this folder. Nothing here imports live delivery or the gateway.
"""
