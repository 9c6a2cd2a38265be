"""What tests share, and nothing that is collected as a test."""
