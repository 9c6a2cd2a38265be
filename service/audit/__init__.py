"""The auditor's side: reading the record as of any moment, proving it, exporting it, and erasing from it.

Only the log of such reads is a module here. Nothing in this package imports live delivery or the gateway.
"""
