"""Counting and measuring: what a network costs, and where the figures were taken."""
