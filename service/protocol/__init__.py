"""The wire formats: frames, payloads, acks, close codes and problem documents, and strict JSON.

Pure: no I/O and no clock. Sockets and HTTP are in `service.gateway`.
"""
