"""Fill the site: cards where they lie, files that they link to, one page of API for every module.

Run by mkdocs (gen-files). Pages keep the paths of the repository, so that links work unchanged.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePosixPath

import mkdocs_gen_files
from mkdocs_gen_files import Nav

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
# where links go for a page of the repository
_CARDS = (
    "README.md",
    "README.zh.md",
    "CHANGELOG.md",
    "ascend_scripts/README.md",
    *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("ms_eff/**/README.md")),
)


def main() -> None:
    """Write all pages and the navigation."""
    nav = Nav()
    nav["ms_eff"] = "README.md"
    for card in _CARDS:
        text = (ROOT / card).read_text(encoding="utf-8")
        _write(card, text)
        for target in _LINK.findall(text):
            _bring(card, target)
        if card.startswith("ms_eff/"):
            nav["Methods", _title(text)] = card
    nav["Ascend"] = "ascend_scripts/README.md"
    nav["Adding a method"] = "adding_a_method.md"
    for module in sorted(ROOT.glob("ms_eff/**/*.py")):
        if _is_public(module):
            nav[("API", *_api_page(module))] = f"api/{_dotted(module)}.md"
    nav["Changes"] = "CHANGELOG.md"
    nav["中文"] = "README.zh.md"
    _write("SUMMARY.md", "".join(nav.build_literate_nav()))


def _bring(card: str, target: str) -> None:
    """Copy a file that a card links to, if it is none of the pages."""
    path = (ROOT / card).parent / target
    where = PurePosixPath(path.resolve().relative_to(ROOT)).as_posix()
    if where not in _CARDS and path.is_file():
        with mkdocs_gen_files.open(where, "wb") as file:
            file.write(path.read_bytes())


def _is_public(module: Path) -> bool:
    """Tell whether a module names what it offers."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    named = [node for node in body if isinstance(node, ast.Assign)]
    return any(getattr(target, "id", "") == "__all__" for node in named for target in node.targets)


def _api_page(module: Path) -> tuple[str, ...]:
    """Write a module's page; return its place in the navigation."""
    name = _dotted(module)
    _write(f"api/{name}.md", f"# {name}\n\n::: {name}\n")
    parts = name.split(".")
    return (".".join(parts[:2]), name) if len(parts) > 2 else (name,)


def _dotted(module: Path) -> str:
    parts = module.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _title(text: str) -> str:
    return text.splitlines()[0].removeprefix("# ").split(":")[0]


def _write(path: str, text: str) -> None:
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


main()
