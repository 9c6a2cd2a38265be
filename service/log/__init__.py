"""The log: the only code that writes events, and the only code beside `projections` that speaks SQL."""
