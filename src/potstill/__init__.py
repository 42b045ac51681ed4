"""Potstill: one small model in place of an ensemble too heavy to ship."""

__version__ = "0.1.0"
