"""Client connections and HTTP: transports, protocols, authentication, sessions, commands, queries, notices.

Rules of chat are in `service.domain`, submission of commands in `service.chat`.
"""
