"""Compiled code on disk: damage costs time, never a wrong number or an exception."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fastfit.kernels import compiled
from fastfit.kernels.gradient import LossGradient
from fastfit.losses import SquaredError
from tests.conftest import needs_compiler, start_script

pytestmark = needs_compiler

# Kernels of one and several blocks, of float64 and float32, and some that have a loss.
FITS = """
import numpy as np
import fastfit as ff
x = np.arange(60_000.0) % 1000
y = 2 * x + x % 7
for n in (1000, 60_000):
    solver = ff.GradientDescent(passes="samples") if n == 1000 else "exact"
    fit = ff.fit_line(x[:n], y[:n], solver=solver)
    print(fit.slope.hex(), fit.intercept.hex(), fit.loss.hex())
fit = ff.fit_line(x[:1000].astype("f"), y[:1000].astype("f"))
print(fit.slope.hex())
"""


def run(cache: Path, code: str = FITS, **environment: str) -> str:
    return finish(start_script(code, NUMBA_CACHE_DIR=str(cache), **environment))


def finish(process: Any) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert err == ""
    return str(out)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("filled")
    return folder, run(folder)


@pytest.fixture
def cache(filled: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled[0], tmp_path / "cache"))


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.nbc"))
    assert len(found) >= 4
    return found


def test_a_second_process_compiles_nothing(filled: tuple[Path, str], cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in files(cache)}
    code = FITS + (
        "from fastfit.kernels import compiled\n"
        "print(sum(sum(d.stats.cache_misses.values()) for d in compiled.DRIVERS.values()))"
    )
    assert run(cache, code) == filled[1] + "0\n"
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == before


def test_truncated(filled: tuple[Path, str], cache: Path) -> None:
    for path, keep in zip(files(cache), itertools.cycle([0, -1, 33, 10, 32, 1000]), strict=False):
        path.write_bytes(path.read_bytes()[:keep])
    assert run(cache) == filled[1]
    # The damaged files were written anew, but for the run-dependent names in them.
    sizes = [[path.stat().st_size for path in files(folder)] for folder in (cache, filled[0])]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_swapped(filled: tuple[Path, str], cache: Path) -> None:
    paths = files(cache)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert run(cache) == filled[1]


def test_a_flipped_bit(filled: tuple[Path, str], cache: Path) -> None:
    for number, path in enumerate(files(cache)):
        content = bytearray(path.read_bytes())
        content[number * 4001 % len(content)] ^= 16
        path.write_bytes(bytes(content))
    assert run(cache) == filled[1]


def test_folders_in_place_of_files(filled: tuple[Path, str], cache: Path) -> None:
    for path in files(cache):
        path.unlink()
        path.mkdir()
    assert run(cache) == filled[1]


def test_a_change_in_any_source_of_a_kernel_is_seen(tmp_path: Path) -> None:
    package = Path(compiled.__file__).parent.parent
    shutil.copytree(package, tmp_path / "fastfit", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    before = run(cache, PYTHONPATH=str(tmp_path))
    losses = tmp_path / "fastfit" / "losses.py"
    source = losses.read_text()
    changed = source.replace(
        "residual * residual, 2.0 * residual, 2.0",
        "4.0 * residual * residual, 2.0 * residual, 2.0",
    )
    assert changed != source
    losses.write_text(changed)
    after = run(cache, PYTHONPATH=str(tmp_path))
    old, new = (list(map(float.fromhex, out.split())) for out in (before, after))
    # Four times the value, of the same slope, has the same minimum. The other fits are of moments, and know no loss.
    assert new == pytest.approx([*old[:2], 4.0 * old[2], *old[3:]], rel=1e-12)


def test_code_that_changed_on_disk_after_it_was_loaded(tmp_path: Path) -> None:
    """An upgrade under a running process: what it compiles is the old code, and must not pass for the new."""
    package = Path(compiled.__file__).parent.parent
    shutil.copytree(package, tmp_path / "fastfit", ignore=shutil.ignore_patterns("__pycache__"))
    cache, passes = tmp_path / "cache", tmp_path / "fastfit" / "kernels" / "passes.py"
    load_change_and_fit = (
        "import pathlib; from fastfit.kernels import compiled\n"
        f"p = pathlib.Path({str(passes)!r})\n"
        "p.write_text(p.read_text().replace('BLOCK = 8192', 'BLOCK = 16384'))\n"
    )
    before = run(cache, load_change_and_fit + FITS, PYTHONPATH=str(tmp_path))
    assert "BLOCK = 16384" in passes.read_text()
    after = run(cache, PYTHONPATH=str(tmp_path))
    for old, new in zip(before.splitlines(), after.splitlines(), strict=True):
        numbers = [[float.fromhex(number) for number in line.split()] for line in (old, new)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)


def test_compiler_settings_are_told_apart(filled: tuple[Path, str], cache: Path) -> None:
    before = len(files(cache))
    run(cache, "import fastfit as ff; ff.fit_line([1, 2, 3], [1, 2, 4])", NUMBA_LOOP_VECTORIZE="0")
    assert len(files(cache)) > before


def test_many_cold_processes_at_once(filled: tuple[Path, str], tmp_path: Path) -> None:
    processes = [start_script(FITS, NUMBA_CACHE_DIR=str(tmp_path / "new")) for _ in range(4)]
    assert {finish(process) for process in processes} == {filled[1]}
    assert run(tmp_path / "new") == filled[1]
    leftovers = [path for path in (tmp_path / "new").rglob("*") if path.suffix not in (".nbc", "")]
    assert leftovers == []


def test_no_writable_place_at_all(filled: tuple[Path, str], tmp_path: Path) -> None:
    """A file where the cache folder should be: not even root can write there."""
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == filled[1]


def test_read_only_installation_without_a_home(filled: tuple[Path, str], tmp_path: Path) -> None:
    package = Path(compiled.__file__).parent.parent
    shutil.copytree(package, tmp_path / "fastfit", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "fastfit" / "kernels" / "__pycache__").write_text("not a folder")
    nowhere = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": "/dev/null/cache"}
    process = start_script(
        FITS, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1", NUMBA_CACHE_DIR="", **nowhere
    )
    assert finish(process) == filled[1]


def test_a_prefilled_installation_that_became_read_only(
    filled: tuple[Path, str], tmp_path: Path
) -> None:
    """As in a container image: compiled while it was built, read-only ever since."""
    package = Path(compiled.__file__).parent.parent
    shutil.copytree(package, tmp_path / "fastfit", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        "PYTHONPATH": str(tmp_path),
        "NUMBA_CACHE_DIR": "",
        "HOME": "/dev/null/home",
        "XDG_CACHE_HOME": "/dev/null/cache",
    }
    assert finish(start_script(FITS, **environment)) == filled[1]
    stored = files(tmp_path / "fastfit" / "kernels" / "__pycache__")
    for path in stored:
        os.utime(path, (0, 0))
        path.chmod(0o444)
    started = time.time()
    assert finish(start_script(FITS, **environment)) == filled[1]
    assert all(path.stat().st_mtime < started - 1 for path in stored)  # loaded, not written again


def test_code_that_computes_something_else_is_compiled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever slips past the digest: a kernel is checked against the reference before it is trusted."""

    @numba.njit
    def wrong(
        what: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, given: Any, rows: Any
    ) -> Any:
        return 1.0, 1.0, 1.0

    x = np.arange(100.0)
    arguments = (LossGradient(), SquaredError(), x, 2 * x, None, (0.0, 0.0), (1.0, 0.0))
    expected = compiled.run(*arguments)
    monkeypatch.setattr(compiled, "_ready", {})
    monkeypatch.setitem(compiled.DRIVERS, ("sums", False), wrong)
    assert compiled.run(*arguments) == expected
    # And where a fresh compilation is no better, an error says so.
    monkeypatch.setattr(compiled, "_ready", {})
    monkeypatch.setattr(compiled, "jit", lambda *_, **__: wrong)
    with pytest.raises(RuntimeError, match="disagree with NumPy"):
        compiled.run(*arguments)


def test_wrong_code_that_gathers_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    @numba.njit
    def wrong(
        x: Any, y: Any, w: Any, center: Any, given: Any, values: Any, weights: Any, found: Any
    ) -> None:
        found[:] = 0.0

    x = np.arange(100.0)
    arguments = (x, 2 * x, None, (0.0, 0.0), (1.0, 0.0, 10.0, 20.0), 100)
    expected = compiled.gather(*arguments)
    monkeypatch.setattr(compiled, "_ready", {})
    monkeypatch.setitem(compiled.DRIVERS, ("gather", False), wrong)
    got = compiled.gather(*arguments)
    np.testing.assert_array_equal(got.values, expected.values)
    assert (got.below, got.up_to) == (expected.below, expected.up_to) == (10.0, 21.0)
    monkeypatch.setattr(compiled, "_ready", {})
    monkeypatch.setattr(compiled, "jit", lambda *_, **__: wrong)
    with pytest.raises(RuntimeError, match="disagree with NumPy"):
        compiled.gather(*arguments)
