"""Files → documents, each pointing back to its place."""
