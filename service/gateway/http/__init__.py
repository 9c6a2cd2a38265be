"""The HTTP API: routes, endpoints for rooms, audit, administration and sign-in, and the OpenAPI document.

Queries are in `service.gateway.queries`, error responses in `service.gateway.transport`.
"""
