"""Recorded results as one HTML file and as one table for the terminal; nothing is measured here."""

from __future__ import annotations

from ms_eff.report.page import render, write
from ms_eff.report.parts import Part
from ms_eff.report.tables import Entry, Table
from ms_eff.report.terminal import layer_table, terminal_table

__all__ = ["Entry", "Part", "Table", "layer_table", "render", "terminal_table", "write"]
