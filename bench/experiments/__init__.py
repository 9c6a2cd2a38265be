"""Measurements beside the benchmark, each a program: `python bench/experiments/NAME.py`."""
