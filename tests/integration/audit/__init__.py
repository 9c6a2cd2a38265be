"""The record: access, proofs, exports, erasure, rotation of keys, commands that are killed."""
