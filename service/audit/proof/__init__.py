"""Tamper evidence: leaves, the Merkle tree, signed checkpoints, the sealer, verification, and inclusion proofs.

`offline` is a program of its own that imports nothing else of this project.
"""
