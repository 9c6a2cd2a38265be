"""Databases as earlier versions left them, kept so that every later version is tested against them (README.md)."""
