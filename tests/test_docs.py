"""What the docs promise: links lead somewhere, code in them runs, examples do what they say."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from ms_eff.report import terminal_table

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("ascend_scripts/*.md"), *ROOT.glob("ms_eff/**/README.md")]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_of_the_project(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_smallest_method_of_the_docs_is_one():
    from ms_eff.methods.base import ModelContext
    from ms_eff.models import build

    text = (ROOT / "docs" / "pages" / "adding_a_method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(compile(code, "adding_a_method.md", "exec"), names)
    method = names["Headless"](names["HeadlessSettings"]())
    network = method.change_model(build("resnet9", width=2, seed=0), ModelContext((1, 3, 32, 32)))
    assert [p.name for p in network.trainable_params()] == ["fc.weight"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_it_is_called(example):
    lines = example.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    assert f"python examples/{example.name}" in "\n".join(lines[:5])


def _run(example: str, *words: object) -> str:
    line = [sys.executable, str(ROOT / "examples" / example), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_network_of_ones_own_is_decomposed_and_recovers():
    said = _run("own_network.py")
    found = re.findall(r"^(\S+) +([\d.]+) % +([\d,]+) parameters", said, re.MULTILINE)
    accuracy = {stage: float(share) for stage, share, _ in found}
    sizes = {stage: int(count.replace(",", "")) for stage, _, count in found}
    assert sizes["fine-tuned"] == sizes["decomposed"] < 0.6 * sizes["dense"]
    assert accuracy["fine-tuned"] > accuracy["decomposed"]
    assert accuracy["fine-tuned"] > 70
    assert "exported" in said


@pytest.mark.slow
def test_five_methods_train_together(tmp_path):
    said = _run("composed_methods.py", tmp_path)
    # ten epochs on all, twenty on half
    assert "samples trained on: 12800 of 19200" in said
    assert float(re.search(r"trained: accuracy ([\d.]+)", said)[1]) > 0.5


@pytest.mark.slow
def test_a_gpt2_is_cut_and_taught(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(p.read_text(encoding="utf-8") for p in PAGES), encoding="utf-8")
    said = _run("smaller_gpt2.py", text, tmp_path)
    values = {s: float(v) for s, v in re.findall(r"^(\S+): perplexity ([\d.]+)", said, re.M)}
    assert values["fine-tuned"] < values["truncated"] < 10_000
    assert values["dense"] < 512


def _shown(text: str) -> list[list[str]]:
    """Return a table's lines, word by word, without what is said below it."""
    lines = [line.split() for line in text.splitlines() if line.strip(" ─")]
    end = next((at for at, words in enumerate(lines) if words[0] == "Latency:"), len(lines))
    return lines[:end]


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_the_demos_table_is_what_its_results_print(readme):
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal_table(json.loads((ROOT / "results" / "demo_digits.json").read_text())))
    (block, *_) = re.findall(
        r"```text\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL
    )
    assert _shown(block) == _shown(console.file.getvalue())


def _figures(readme: str) -> dict[str, list[str]]:
    """Return the decimals that stand beside each results file in a README's tables."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / readme).read_text(encoding="utf-8").splitlines():
        linked = re.findall(r"\]\((results/\w+\.json)\)", line)
        if line.startswith("|") and linked:
            plain = re.sub(r"\]\([^)]*\)|\[results[^\]]*", "", line)
            numbers = re.findall(r"(?<![\w./-])\d[\d,]*(?:\.\d+)?(?![\w./-]| GB)", plain)
            found.setdefault(linked[0], []).extend(sorted(numbers))
    return found


def test_both_readmes_give_the_same_figures_and_they_are_those_of_the_results():
    english, chinese = _figures("README.md"), _figures("README.zh.md")
    assert english == chinese
    for file, figures in english.items():
        known = list(_numbers(json.loads((ROOT / file).read_text(encoding="utf-8"))))
        assert figures, file
        for figure in figures:
            digits = len(figure.partition(".")[2])
            value = float(figure.replace(",", ""))
            found = any(round(scale * n, digits) == value for n in known for scale in (1, 100))
            assert found, f"{file}: {figure}"


def _numbers(content: object) -> Iterator[float]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from _numbers(part)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content
