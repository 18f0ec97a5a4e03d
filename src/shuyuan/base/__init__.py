"""The records that travel between rooms, errors, settings, safe files and the workspace folder."""
