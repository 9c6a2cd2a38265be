"""OnRecord: a chat server whose only source of truth is an event log.

Each folder has one job, named in its docstring. Imports point down, from `cli` to `config` and `errors`; the contract
in `pyproject.toml` enforces this. Only `errors` is a module of this folder; new code goes into a folder.
"""
