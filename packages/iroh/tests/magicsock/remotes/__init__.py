"""Remotes: their addresses, paths, selection, hole punching, and paths that die."""
