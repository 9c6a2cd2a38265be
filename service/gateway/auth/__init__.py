"""Authentication and admission: tokens, published keys, OpenID Connect, origins, rate limits.

What an authenticated user may do in a room is decided in `service.domain.permissions`.
"""
