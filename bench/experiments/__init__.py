"""Measurements that are not part of the benchmark, each a program: `python bench/experiments/NAME.py`."""
