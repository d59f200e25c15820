"""The directions of imports, and what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import fastfit
from tests.conftest import Script

PACKAGE = Path(fastfit.__file__).parent
COMMON = {"coordinates", "double_double", "least_squares", "losses", "moments", "validation"}
# Who may import what: rooms further down know nothing of rooms further up.
MAY_IMPORT = {
    "validation": set(),
    "double_double": set(),
    "least_squares": {"double_double"},
    "coordinates": {"double_double"},
    "elementary": set(),
    "losses": {"elementary", "validation"},
    # Moments.of and Moments.fit are the front door for who has moments, and ask fit when they are called.
    "moments": {"coordinates", "double_double", "least_squares", "losses", "fit"},
    "inference": COMMON,
    "result": {"validation", "plotting"},
    "kernels": {"kernels", "losses", "elementary", "double_double", "least_squares"},
    "points": {"points", "kernels", *COMMON},
    "solvers": {"solvers", "points.base", "result", *COMMON},
    "progress": {"points", "result"},
    "fit": {
        *("solvers", "points", "kernels", "result", "inference", "progress", "__version__"),
        *COMMON,
    },
    "worked_example": {"fit", "solvers", "result"},
    "objectives": {"fit", "solvers", "points", *COMMON},
    "plotting": {"result", "throughput"},
    "timing": set(),
    "machine": {"kernels", "__version__"},
    "throughput": {"fit", "kernels", "losses", "machine", "timing", "validation"},
    "compat": {"fit", "solvers", "points", "result", "inference", *COMMON},
    "estimator": {"fit", "solvers", "result", *COMMON},
    "cli": {
        *("fit", "solvers", "points", "losses", "plotting", "worked_example", "result"),
        *("throughput", "progress", "__version__"),
    },
    "__main__": {"cli"},
    "__init__": {"fit", "solvers", "points.files", "result", "losses", "moments", "objectives"},
}
OPTIONAL = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "polars": {"points"},
    "pyarrow": {"validation"},
    "pandas": {"validation", "points"},
    "dask": {"points"},
    "matplotlib": {"plotting"},
    "scipy": {"inference", "compat"},
    "sklearn": {"estimator"},
    "typer": {"cli", "__main__"},
    "rich": {"cli", "__main__", "progress"},
}


def imports(path: Path) -> set[str]:
    found = set()
    type_checking: list[ast.AST] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            type_checking.extend(ast.walk(node))
        elif isinstance(node, ast.Import) and node not in type_checking:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node not in type_checking:
            assert node.level == 0, "imports are absolute"
            if node.module == "fastfit":
                found |= {f"fastfit.{alias.name}" for alias in node.names}
            else:
                found.add(str(node.module))
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "fastfit":
            allowed = MAY_IMPORT[room]
            assert rest in allowed or rest.partition(".")[0] in allowed, f"{room} imports {name}"
        else:
            assert room in OPTIONAL.get(top, {room}), f"{room} imports {name}"


def test_links_of_readme_lead_somewhere() -> None:
    root = PACKAGE.parent
    links = re.findall(r"\]\(([^):]+)\)", (root / "README.md").read_text())
    assert ".github/flights.png" in links
    ignored = subprocess.run(
        ["git", "check-ignore", *links], cwd=root, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""
    for link in links:
        assert (root / link).is_file(), link


def test_solvers_know_no_arrays_and_no_files() -> None:
    for path in (PACKAGE / "solvers").glob("*.py"):
        known = {name for name in imports(path) if name.startswith("fastfit.points")}
        assert known <= {"fastfit.points.base"}, path.name


def test_import_is_lean(run_script: Script) -> None:
    code = "import sys, fastfit; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run_script(code).split())
    assert "numpy" in loaded
    assert not loaded & set(OPTIONAL)


def test_the_reference_needs_no_numba(run_script: Script) -> None:
    out = run_script(
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "import fastfit as ff\n"
        "print(round(ff.fit_line([1, 2, 3], [3, 5, 7], backend='numpy').slope, 9))"
    )
    assert out == "2.0\n"
