"""Auditing: reading the record as of any moment, proving it, exporting it, and erasing from it.

`access_log` records each read and export. Nothing here imports live delivery or the gateway.
"""
