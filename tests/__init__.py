"""The tests: `unit` mirrors `service`, `integration` is grouped by feature, `support` is what tests share.

Servers are real: a PostgreSQL and a Valkey of the run's own. `conformance`, `drill`, `docs` and `deploy` test what
their names say.
"""
