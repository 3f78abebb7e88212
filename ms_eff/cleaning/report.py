"""What a cleaning did: counts by reason, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from ms_eff.cleaning.settings import REASONS

__all__ = ["CleaningReport", "report_table"]

_WORDS = {
    "too_long": "longer than the limit",
    "invalid_utf8": "no valid UTF-8",
    "html": "HTML",
    "short": "too few words",
    "symbols": "too many symbols",
    "duplicate": "duplicates",
}


@dataclass(frozen=True)
class CleaningReport:
    """Counts of one cleaned text.

    Attributes:
        read: lines of the inputs.
        kept: lines of the output.
        dropped: lines by reason, `ms_eff.cleaning.settings.REASONS`, each line under one.
        bytes_read: of the inputs, unpacked.
        bytes_kept: of the output, unpacked.
        seconds: that it took, interruptions left out.

    >>> CleaningReport(3, 1, {"short": 2}, 40, 20, 0.5).share("short")
    0.6666666666666666
    """

    read: int
    kept: int
    dropped: Mapping[str, int]
    bytes_read: int
    bytes_kept: int
    seconds: float

    def share(self, reason: str) -> float:
        """Return the share of the lines that went for a reason."""
        return self.dropped[reason] / self.read if self.read else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return asdict(self)


def report_table(report: CleaningReport) -> Table:
    """Return the counts as a table for the terminal."""
    table = Table("lines", "", "", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    table.add_row("read", f"{report.read:,}", "")
    for reason in REASONS:
        share = f" {100 * report.share(reason):.2f} %"
        table.add_row(f"  {_WORDS[reason]}", f"{report.dropped[reason]:,}", share)
    kept = report.kept / report.read if report.read else 0.0
    table.add_row("kept", f"{report.kept:,}", f" {100 * kept:.2f} %")
    table.caption = (
        f"{report.bytes_read / 1e6:,.1f} MB read, {report.bytes_kept / 1e6:,.1f} MB kept, "
        f"{report.seconds:.1f} s"
    )
    table.caption_justify = "left"
    return table
