"""Collaborative filters: numpy and scipy only, fitted in seconds to minutes.

Each module holds one model: a frozen config, `fit(log, config)` and, for `choose`, the values worth trying.
"""
