"""Tests of whole servers: real processes on a real PostgreSQL and Valkey, grouped by feature."""
