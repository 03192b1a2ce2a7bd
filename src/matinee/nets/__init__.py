"""Bricks that networks are built of, and networks by name."""
