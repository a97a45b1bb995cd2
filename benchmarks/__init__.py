"""Measurements that anyone can repeat: `python -m benchmarks.NAME --help`. Results are ratios inside one run."""
