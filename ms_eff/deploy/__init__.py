"""Exported models: written, loaded back, and let out only if they reproduce the live network."""
