"""Shuyuan (书院): teach a model your own material by every route, and let one exam say which of them worked."""

__version__ = "0.1.0"
