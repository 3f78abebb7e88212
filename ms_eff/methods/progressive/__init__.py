"""Language models in a family, by progressive low-rank decomposition (arXiv:2406.19995)."""
