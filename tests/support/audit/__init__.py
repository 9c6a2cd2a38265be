"""Helpers for audit tests: sealed logs, exports, retention rules, erased people."""
