"""Answer and truth → a number; the same metric serves exam, learning curve and reward."""
