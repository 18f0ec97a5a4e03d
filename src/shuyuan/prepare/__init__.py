"""Documents and questions → passages, examples and exam questions that do not leak into each other."""
