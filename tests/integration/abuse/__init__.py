"""Bad input, hostile connections, limits and close codes."""
