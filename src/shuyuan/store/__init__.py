"""Vectors and words kept and found."""
