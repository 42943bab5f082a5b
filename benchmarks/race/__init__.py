"""Optimisers race over many problems in virtual time: `python -m benchmarks.race --help`."""
