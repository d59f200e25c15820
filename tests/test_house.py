"""The laws of the house: which way imports point, and what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import fastfit
from tests.conftest import Script

PACKAGE = Path(fastfit.__file__).parent
ROOT = PACKAGE.parent
MOST_FLOORS = 10
# The one room that imports an optional library; a room is a file or folder directly under fastfit/.
OPTIONAL = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "polars": {"containers", "keys", "points"},
    "pyarrow": {"containers", "keys", "points"},
    "pandas": {"keys", "points", "lines"},
    "dask": {"points", "xarray"},
    "xarray": {"lines", "xarray"},
    "matplotlib": {"plotting", "speed", "result", "outcome", "lines"},
    "scipy": {"inference", "compat"},
    "sklearn": {"estimator"},
    "typer": {"cli", "__main__"},
    "rich": {"cli", "__main__", "points"},
}


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the modules and names that code imports: at its top, in functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((str(node.module), alias.name) for alias in node.names)


def modules_imported(path: Path) -> set[str]:
    """Return the modules of fastfit that a file imports; a package, where it takes its own names."""
    found = set()
    for module, name in imported(ast.parse(path.read_text())):
        if module.partition(".")[0] == "fastfit":
            whole = f"{module}.{name}"
            found.add(whole if whole in MODULES else module)
    # Public names are loaded on first use, from the modules that a table names.
    if path == PACKAGE / "__init__.py":
        found |= {f"fastfit.{module}" for module in fastfit._PUBLIC}
    return found


IMPORTS = {name: modules_imported(path) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    return (module + ".__init__").split(".")[1]


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Return a circle of arrows, [] if there is none."""
    done: set[str] = set()

    def walk(name: str, above: list[str]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        for below in () if name in done else sorted(arrows.get(name, ())):
            found = walk(below, [*above, name])
            if found:
                return found
        done.add(name)
        return []

    for name in arrows:
        found = walk(name, [])
        if found:
            return found
    return []


def rooms() -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    arrows: dict[str, set[str]] = {}
    for module, below in IMPORTS.items():
        own = room_of(module)
        arrows.setdefault(own, set()).update({room_of(name) for name in below} - {own})
    return arrows


def test_no_circle_among_modules() -> None:
    assert circle(IMPORTS) == []


def test_no_circle_among_rooms_and_at_most_ten_floors() -> None:
    arrows = rooms()
    assert circle(arrows) == []
    floors: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in floors:
            floors[room] = 1 + max(map(floor, arrows[room]), default=0)
        return floors[room]

    assert max(map(floor, arrows)) <= MOST_FLOORS, sorted(floors.items(), key=lambda each: each[1])


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("name", MODULES)
def test_optional_libraries_are_imported_in_one_room(name: str) -> None:
    for module, _ in imported(ast.parse(MODULES[name].read_text())):
        library = module.partition(".")[0]
        assert room_of(name) in OPTIONAL.get(library, {room_of(name)}), f"{name} imports {module}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("name", MODULES)
def test_no_private_name_crosses_a_module_border(name: str) -> None:
    """Private names of another module are neither imported nor reached through it, or through its objects."""
    tree = ast.parse(MODULES[name].read_text())
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    own |= {
        node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    own |= {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for module, imported_name in imported(tree):
        if module.partition(".")[0] == "fastfit":
            parts = [*module.split("."), imported_name]
            assert not any(map(is_private, parts[2:])), f"{module}.{imported_name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            assert node.attr in PRIVATE_OF_OTHERS, f"{ast.unparse(node)} at line {node.lineno}"


# Of named tuples and of libraries: there is no public way to the same.
PRIVATE_OF_OTHERS = {
    *("_make", "_replace", "_asdict", "_fields", "_getframe", "_current_frames"),
    *("_cache", "_reduce", "_rebuild"),
}


def test_solvers_know_no_arrays_and_no_files() -> None:
    for name, below in IMPORTS.items():
        if name.startswith("fastfit.solvers"):
            known = {each for each in below if each.startswith("fastfit.points")}
            assert known <= {"fastfit.points.base", "fastfit.points.moments"}, name


def test_links_of_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^):]+)\)", (ROOT / "README.md").read_text())
    assert ".github/flights.png" in links
    ignored = subprocess.run(
        ["git", "check-ignore", *links], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""
    for link in links:
        assert (ROOT / link).is_file(), link


def test_import_is_lean(run_script: Script) -> None:
    code = "import sys, fastfit; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run_script(code).split())
    assert not loaded & {"numpy", "logging", *OPTIONAL}


def test_all_public_names_are_there_and_no_others(run_script: Script) -> None:
    out = run_script(
        "import fastfit as ff\n"
        "assert all(getattr(ff, name) is not None for name in ff.__all__)\n"
        "assert {*ff.__all__, 'compat', 'estimator', 'xarray'} <= set(dir(ff))\n"
        "assert ff.losses.Huber is ff.Huber\n"
        "try: ff.nothing\n"
        "except AttributeError as error: print(error)"
    )
    assert out == "module 'fastfit' has no attribute 'nothing'\n"


def test_what_needs_a_missing_library_is_no_attribute(run_script: Script) -> None:
    out = run_script(
        "import sys; sys.modules['sklearn'] = None\n"
        "import fastfit, pydoc\n"
        "pydoc.render_doc(fastfit)\n"
        "print(hasattr(fastfit, 'estimator'))\n"
        "try: fastfit.estimator\n"
        "except AttributeError as error: print('pip install' in str(error))"
    )
    assert out == "False\nTrue\n"


def test_the_reference_needs_no_numba(run_script: Script) -> None:
    out = run_script(
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "import fastfit as ff\n"
        "print(round(ff.fit_line([1, 2, 3], [3, 5, 7], backend='numpy').slope, 9))"
    )
    assert out == "2.0\n"
