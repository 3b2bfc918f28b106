"""Pure Graph -> Graph rewrites; each returns what it did and why not."""
