"""Cleaning of text, a sample a line: HTML, short lines, symbols, duplicates (arXiv:2110.08460)."""

from __future__ import annotations
