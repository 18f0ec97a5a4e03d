"""Base and material → an assistant, by one route a file."""
