"""The doctor's findings on an exported graph, on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ms_eff.deploy.graph_check import GraphReport

__all__ = ["graph_tables"]

_STYLES = {"stop": "red", "check": "yellow", "note": "", "listed": "green"}
_STYLES |= {"left out": "yellow", "unknown": "yellow"}


def graph_tables(report: GraphReport) -> Group:
    """Return the table of operators, the findings, the pages they are from, and the verdict.

    Args:
        report: of `ms_eff.deploy.graph_check.check_graph`.
    """
    nodes = sum(row.count for row in report.operators)
    title = f"{report.file} for {report.target}: {len(report.operators)} operators, {nodes} nodes"
    parts: list[RenderableType] = [Text(title), _operators(report)]
    if report.findings:
        parts.append(_findings(report))
    sources = report.to_dict()["sources"]
    parts += [Text(f"{key}: {title}", style="dim") for key, title in sources.items()]
    parts.append(Text(_verdict(report)))
    return Group(*parts)


def _operators(report: GraphReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("operator", no_wrap=True)
    table.add_column("nodes", justify="right")
    mindir = report.kind == "mindir"
    if mindir:
        table.add_column("MindSpore documents")
    table.add_column(report.target)
    table.add_column("source", no_wrap=True)
    for row in report.operators:
        named = [", ".join(row.platforms) or "nothing"] if mindir else []
        state = Text(row.state, style=_STYLES[row.state])
        table.add_row(row.op, str(row.count), *named, state, row.source or "-")
    return table


def _findings(report: GraphReport) -> Table:
    table = Table("", "finding", "where", "remedy", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.pad_edge = False
    for column in table.columns:
        column.overflow = "fold"
    for finding in report.findings:
        grade = Text(finding.grade, style=_STYLES[finding.grade])
        table.add_row(grade, finding.what, finding.where, finding.remedy)
    return table


def _verdict(report: GraphReport) -> str:
    grades = [finding.grade for finding in report.findings]
    if report.stopped:
        return f"{grades.count('stop')} findings stop the conversion."
    if "check" in grades:
        return f"Nothing is known to stop the conversion; {grades.count('check')} to check."
    return "Nothing is known to stop the conversion."
