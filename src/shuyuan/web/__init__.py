"""The page: its source (Vue, TypeScript) in `src/`, one view a file; as built and served in `dist/`. It holds no logic."""
