"""Shuyuan (书院): teach a model your own material by every route, and let one exam say which of them worked."""

import os

__version__ = "0.1.0"

# Read by OpenMP when torch is first imported. Its threads spin while they wait for each other, and as soon as another
# program wants a core, an answer of 17 tokens took 7 to 39 s instead of 3.4 s (LOG.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
