"""What tools/benchmark.py measures: one file per case, and how it is measured and printed."""
