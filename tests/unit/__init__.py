"""Tests of one package each; the folders mirror `service`, and `projections` and `bench` beside it.

Many use a real PostgreSQL or Valkey. Tests of whole servers are in `tests.integration`.
"""
