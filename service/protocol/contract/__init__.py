"""The published contract: JSON Schemas, examples and the AsyncAPI document, generated from the structs.

The OpenAPI document is in `service.gateway.http`, beside the table of routes that it is made from.
"""
