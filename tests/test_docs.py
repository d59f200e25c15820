"""README and the guide: their examples run, their excerpts are the code, their links lead somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fastfit as ff
from tests.conftest import needs_compiler

ROOT = Path(__file__).parent.parent
GUIDE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDE]
# Excerpts in README, by the name of the function, and where it stands.
EXCERPTS = {
    "loss_gradient": "fastfit/kernels/gradient.py",
    "iterate": "fastfit/solvers/iterate.py",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path) -> Iterator[tuple[str, int, str]]:
    """Yield the language, first line and text of every fenced block."""
    lines = page.read_text(encoding="utf-8").splitlines()
    marks = [number for number, line in enumerate(lines) if line.startswith("```")]
    for start, end in zip(marks[::2], marks[1::2], strict=True):
        assert lines[end] == "```", f"{page} line {end + 1}"
        yield lines[start][3:], start + 2, "\n".join([*lines[start + 1 : end], ""])


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the blocks of a language, each with its first line."""
    return [(line, code) for found, line, code in fences(page) if found == language]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the examples read."""
    rng = np.random.default_rng(0)
    t = rng.uniform(0.0, 7200.0, 500)
    table = pl.DataFrame({"t": t, "v": 0.5 * t + rng.normal(size=t.size), "n": np.ones(t.size)})
    for folder in ("points", "data", "log"):
        (tmp_path / folder).mkdir()
        for number, part in enumerate((table[:200], table[200:])):
            if folder == "log":
                part.write_csv(tmp_path / folder / f"{number}.csv")
            else:
                part.write_parquet(tmp_path / folder / f"{number}.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for processes that an example starts
    monkeypatch.setenv("MPLBACKEND", "Agg")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "data").symlink_to(ROOT / "tests" / "data")
    return tmp_path


@needs_compiler
@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of a page run in their order, in one namespace."""
    # Loops for threads find the same bits, and those for many lines would compile for ten seconds.
    monkeypatch.setattr("fastfit.kernels.threads.default_threads", lambda: 1)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        lines = "\n" * (line - 1) + code  # for tracebacks
        exec(compile(lines, page, "exec"), names)
    for name, value in names.items():
        if isinstance(value, (ff.LineFit, ff.LineFits)):
            assert np.isfinite(value.slope).any(), name


def test_examples_are_found() -> None:
    assert len(PAGES) > 10
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 20


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_fences_have_a_known_language(page: Path) -> None:
    """A misspelt fence would be an example that no test runs."""
    assert {language for language, _, _ in fences(page)} <= {"python", "py", "sh", "console"}


class _Bare(ast.NodeTransformer):
    """Leaves out decorators, docstrings and annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list, node.returns = [], None
        if ast.get_docstring(node) is not None:
            del node.body[0]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return node.value and ast.Assign([node.target], node.value, lineno=node.lineno)


def function_in(code: str, name: str) -> str:
    """Return a function as text, without decorators, docstring, annotations and comments."""
    functions = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    (found,) = (node for node in functions if node.name == name)
    return ast.unparse(_Bare().visit(found))


@pytest.mark.parametrize("name", EXCERPTS)
def test_excerpts_of_readme_are_the_code(name: str) -> None:
    source = ROOT / EXCERPTS[name]
    if not source.exists():
        pytest.skip(f"{EXCERPTS[name]} does not exist")
    (excerpt,) = (code for _, code in blocks(PAGES[0], "py") if f"def {name}(" in code)
    assert function_in(excerpt, name) == function_in(source.read_text(encoding="utf-8"), name)


def test_an_excerpt_that_differs_is_noticed() -> None:
    code = (
        'def f(a: int) -> int:\n    """Return it."""\n    b: int = a  # a comment\n    return b\n'
    )
    assert function_in(code, "f") == function_in("def f(a):\n    b = a\n    return b", "f")
    assert function_in(code, "f") != function_in("def f(a):\n    b = a\n    return a", "f")


def test_readme_is_short_and_its_first_screen_shows_what_it_does() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    lines = readme.splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[: lines.index("## Set-up")])
    assert all(each in first for each in ("![", "```python", "| compared with |"))
    assert len(blocks(PAGES[0], "sh")) == 2


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name_of
)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_leads_to_every_page() -> None:
    assert {page.name for page in GUIDE} - {"index.md"} <= set(links(ROOT / "docs" / "index.md"))


def listed() -> Iterator[Path]:
    """Yield the files and folders that CONTRIBUTING lists."""
    (tree,) = (
        code for _, code in blocks(ROOT / "CONTRIBUTING.md", "") if code.startswith("fastfit/")
    )
    above: list[tuple[int, Path]] = [(-1, ROOT)]
    for line in tree.splitlines():
        name = line.split()[0]
        depth = len(line) - len(line.lstrip())
        while above[-1][0] >= depth:
            above.pop()
        yield above[-1][1] / name
        if name.endswith("/"):
            above.append((depth, above[-1][1] / name))


def test_the_list_of_files_in_contributing_is_the_tree() -> None:
    names = list(listed())
    assert [str(path) for path in names if not path.exists()] == []
    modules = {path for path in (ROOT / "fastfit").rglob("*.py") if path.name != "__init__.py"}
    assert sorted(map(name_of, modules - set(names))) == []
