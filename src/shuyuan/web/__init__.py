"""The page: its source in `src/` (Vue, one view a file), as built and served in `dist/`. It holds no logic."""
