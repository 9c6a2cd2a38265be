"""Tests of the page's modules, run by Node."""
