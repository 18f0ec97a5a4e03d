"""Search, fuse, and ground an answer in passages that are cited."""
