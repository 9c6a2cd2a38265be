"""Code that tests share; contains no tests."""
