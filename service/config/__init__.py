"""Settings: reading the environment, checking values, development defaults, and the table of all settings.

No other code reads environment variables. What a setting controls does not belong here.
"""
