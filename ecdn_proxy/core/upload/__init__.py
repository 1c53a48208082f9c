"""Whom this machine serves, in which order and how much."""
