"""Logging and metrics: log formats, histograms, the catalogue of metrics, exposition and its endpoint.

How a node's numbers are collected from its parts is in `service.node`; traces are in `service.tracing`.
"""
