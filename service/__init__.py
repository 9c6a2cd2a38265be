"""OnRecord's write side and live side: commands in, facts out, live."""
