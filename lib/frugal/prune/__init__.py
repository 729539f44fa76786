"""Pruning: what to remove, and removing it for real."""
