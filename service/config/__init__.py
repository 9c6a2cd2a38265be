"""Settings: reading the environment, checking values, development defaults, and the table of all settings.

No other code reads environment variables. Code that a setting controls does not belong here.
"""
