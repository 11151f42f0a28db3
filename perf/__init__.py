"""Measures what we promise, as ratios beside a do-nothing extender in the same run: `make bench`."""
