"""Servers for tests: databases, brokers, proxies before them, identity providers, chat servers with faults."""
