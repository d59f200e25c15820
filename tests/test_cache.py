"""Compiled code on disk: damage costs time, never a wrong number or an exception; untrusted files are not read."""

from __future__ import annotations

import abc
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfit.kernels import cache as disk
from fastfit.kernels import compiled, flags, reference
from fastfit.kernels.gradient import LossGradient
from fastfit.losses import SquaredError
from tests.conftest import needs_compiler, start_script

pytestmark = needs_compiler

# Three kernels: a glance, moments, and one that has a loss.
FITS = """
import numpy as np
import fastfit as ff
x = np.arange(1000.0)
y = 2 * x + x % 7
for solver in ("exact", ff.GradientDescent(passes="samples")):
    fit = ff.fit_line(x, y, solver=solver)
    print(fit.slope.hex(), fit.intercept.hex(), fit.loss.hex())
"""
# One kernel.
KERNEL = """
import numpy as np
from fastfit.kernels import compiled
from fastfit.kernels.gradient import LossGradient
from fastfit.losses import SquaredError
x = np.arange(10_000.0) % 100
sums = compiled.run(LossGradient(), SquaredError(), x, 2 * x + x % 7, None, (0.5, 1.0), (1.5, 0.25))
print(*(number.hex() for number in sums))
"""
PACKAGE = Path(disk.__file__).parent.parent


def run(folder: Path | str, code: str = FITS, **environment: str) -> str:
    return finish(start_script(code, NUMBA_CACHE_DIR=str(folder), **environment))


def finish(process: Any) -> str:
    out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    return str(out)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("filled")
    return folder, run(folder)


@pytest.fixture
def cache(filled: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled[0], tmp_path / "cache"))


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """The kernels of a copy of the package, to change."""
    copy = tmp_path / "fastfit"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy / "kernels"


@pytest.fixture(scope="module")
def sums() -> str:
    return finish(start_script(KERNEL))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A file as the cache writes it, in a folder of its own."""
    path = tmp_path / "folder" / "a.nbc"
    disk._write_atomically(path, b"code")
    return path


def files(folder: Path, count: int = 3) -> list[Path]:
    found = sorted(folder.rglob("*.nbc"))
    assert len(found) == count
    return found


def numbers(out: str) -> list[float]:
    return [float.fromhex(number) for number in out.split()]


@pytest.mark.slow
def test_a_second_process_compiles_nothing(filled: tuple[Path, str], cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in files(cache)}
    code = FITS + (
        "from fastfit.kernels import compiled\n"
        "drivers = [d for pair in compiled.DRIVERS.values() for d in pair.values()]\n"
        "print(sum(sum(d.stats.cache_misses.values()) for d in drivers))"
    )
    assert run(cache, code) == filled[1] + "0\n"
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == before


def cut_off_flipped_and_swapped(paths: list[Path]) -> None:
    first, second, third = paths
    third.write_bytes(first.read_bytes())
    first.write_bytes(first.read_bytes()[:-1])
    flipped = bytearray(second.read_bytes())
    flipped[len(flipped) // 2] ^= 16
    second.write_bytes(bytes(flipped))


def empty_short_and_a_folder(paths: list[Path]) -> None:
    first, second, third = paths
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:33])
    third.unlink()
    third.mkdir()


@pytest.mark.parametrize(
    "damage",
    [cut_off_flipped_and_swapped, pytest.param(empty_short_and_a_folder, marks=pytest.mark.slow)],
)
@pytest.mark.slow
@pytest.mark.long
def test_damaged_files_are_compiled_anew(
    filled: tuple[Path, str], cache: Path, damage: Any
) -> None:
    damage(files(cache))
    assert run(cache) == filled[1]
    # The damaged files were written anew, but for the run-dependent names in them; a folder is left alone.
    for path, whole in zip(files(cache), files(filled[0]), strict=True):
        assert path.is_dir() or path.stat().st_size == pytest.approx(whole.stat().st_size, rel=0.01)


def assert_four_times_the_loss(after: str, before: str) -> None:
    loss, *gradients = numbers(before)
    assert numbers(after) == pytest.approx([4.0 * loss, *gradients], rel=1e-12)


@pytest.mark.slow
@pytest.mark.long
def test_a_change_of_a_source_is_seen_and_old_files_are_removed(
    tmp_path: Path, kernels: Path
) -> None:
    folder, gradient = tmp_path / "cache", kernels / "gradient.py"
    before, old_files = run(folder, KERNEL, PYTHONPATH=str(tmp_path)), files(folder, 1)
    source = gradient.read_text()
    gradient.write_text(source.replace("total += k * value", "total += 4.0 * k * value", 1))
    assert_four_times_the_loss(run(folder, KERNEL, PYTHONPATH=str(tmp_path)), before)
    assert files(folder, 1) != old_files


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("fastfit.kernels.cache._VERSIONS", ("another",)),
        ("fastfit.kernels.block.BLOCK", 16384),
        ("fastfit.losses.SquaredError.point", staticmethod(lambda loss, residual: residual)),
        ("fastfit.exact.double_double.add", lambda a, b: a),
    ],
)
def test_a_change_of_version_constant_formula_or_function_has_another_stamp(
    monkeypatch: pytest.MonkeyPatch, name: str, changed: Any
) -> None:
    before = disk._stamp.__wrapped__()
    monkeypatch.setattr(name, changed)
    assert disk._stamp.__wrapped__() != before
    monkeypatch.undo()
    assert disk._stamp.__wrapped__() == before


def test_options_of_each_function_are_part_of_the_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    before = disk._stamp.__wrapped__()
    marked = list(flags.MARKED)
    for index, (function, options) in enumerate(marked):
        changed = (function, {**options, "boundscheck": True})
        monkeypatch.setattr(flags, "MARKED", [*marked[:index], changed, *marked[index + 1 :]])
        assert disk._stamp.__wrapped__() != before, function
    # The order depends on which module was imported first.
    monkeypatch.setattr(flags, "MARKED", marked[::-1])
    assert disk._stamp.__wrapped__() == before


@pytest.mark.slow
@pytest.mark.long
def test_code_that_changed_on_disk_after_it_was_loaded(tmp_path: Path, kernels: Path) -> None:
    """An upgrade under a running process: what it compiles is the old code, and must not pass for the new."""
    load_change_and_fit = (
        "import pathlib; from fastfit.kernels import compiled\n"
        f"p = pathlib.Path({str(kernels / 'gradient.py')!r})\n"
        "p.write_text(p.read_text().replace('total += k * value', 'total += 4.0 * k * value'))\n"
    )
    before = run(tmp_path / "cache", load_change_and_fit + KERNEL, PYTHONPATH=str(tmp_path))
    after = run(tmp_path / "cache", KERNEL, PYTHONPATH=str(tmp_path))
    assert_four_times_the_loss(after, before)


@pytest.mark.slow
@pytest.mark.long
def test_compiler_settings_are_told_apart(cache: Path) -> None:
    before = files(cache)
    run(cache, KERNEL, NUMBA_LOOP_VECTORIZE="0")
    assert set(before) < set(files(cache, 4))


class NamedAlike:
    """Holds a class that bears the name of a loss of fastfit."""

    class SquaredError(SquaredError):
        __slots__ = ()
        __module__ = "fastfit.losses"

        @staticmethod
        def point(loss: Any, residual: Any) -> Any:
            return 5.0 * residual * residual, 10.0 * residual, 10.0, 5.0


@pytest.mark.parametrize("module", [compiled, reference])
@pytest.mark.slow
@pytest.mark.long
def test_a_class_of_the_caller_named_alike_is_not_given_our_code(module: Any) -> None:
    x = np.arange(100.0)
    rest = (x, 2.0 * x, None, (0.0, 0.0), (1.0, 0.0))
    plain = module.run(LossGradient(), SquaredError(), *rest)
    assert module.run(LossGradient(), NamedAlike.SquaredError(), *rest).loss == 5.0 * plain.loss


@pytest.mark.slow
def test_many_cold_processes_at_once(sums: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    processes = [start_script(KERNEL, NUMBA_CACHE_DIR=str(new)) for _ in range(3)]
    assert {finish(process) for process in processes} == {sums}
    assert run(new, KERNEL) == sums
    assert [path for path in new.rglob("*") if path.suffix not in (".nbc", "")] == []


@pytest.mark.slow
@pytest.mark.long
def test_no_writable_place_at_all(sums: str, tmp_path: Path) -> None:
    """A file where the cache folder should be: not even root can write there."""
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", KERNEL) == sums


NOWHERE = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": "/dev/null/cache"}


@pytest.mark.slow
def test_read_only_installation_without_a_home(sums: str, tmp_path: Path, kernels: Path) -> None:
    (kernels / "__pycache__").write_text("not a folder")
    environment = {**NOWHERE, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    assert run("", KERNEL, **environment) == sums


@pytest.mark.slow
def test_a_prefilled_installation_that_became_read_only(
    sums: str, tmp_path: Path, kernels: Path
) -> None:
    """As in a container image: compiled while it was built, read-only ever since."""
    assert run("", KERNEL, PYTHONPATH=str(tmp_path), **NOWHERE) == sums
    (path,) = files(kernels / "__pycache__", 1)
    os.utime(path, (0, 0))
    path.chmod(0o444)
    assert run("", KERNEL, PYTHONPATH=str(tmp_path), **NOWHERE) == sums
    assert path.stat().st_mtime == 0  # loaded, not written again


@pytest.mark.skipif(os.name != "posix", reason="is about owners and modes of files")
class TestTrust:
    """Reading a file runs code from it, so only the user, or root, may have been able to write it."""

    @pytest.mark.parametrize("mask", [0o002, 0])
    def test_what_is_written_can_be_read_and_is_never_writable_by_others(
        self, tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modes = []
        chmod = Path.chmod

        def watched(path: Path, mode: int) -> None:
            modes.append(path.stat().st_mode & 0o777)
            chmod(path, mode)

        monkeypatch.setattr(Path, "chmod", watched)
        path = tmp_path / "folder" / "a.nbc"
        before = os.umask(mask)
        try:
            disk._write_atomically(path, b"code")
        finally:
            os.umask(before)
        assert modes == [0o600]
        assert path.parent.stat().st_mode & 0o777 == 0o755
        assert disk._read(path) == b"code"

    @pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
    @pytest.mark.parametrize("name", ["a.nbc", ""])
    def test_what_others_can_write_is_not_read(self, stored: Path, name: str, mode: int) -> None:
        (stored.parent / name).chmod(mode | 0o111)
        with pytest.raises(PermissionError, match="can be written by other users"):
            disk._read(stored)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
    @pytest.mark.parametrize("name", ["a.nbc", ""])
    def test_what_belongs_to_somebody_else_is_not_read(self, stored: Path, name: str) -> None:
        os.chown(stored.parent / name, 12345, -1)
        with pytest.raises(PermissionError, match="can be written by other users"):
            disk._read(stored)

    @pytest.mark.slow
    @pytest.mark.long
    def test_a_file_that_others_can_write_is_written_anew(
        self, filled: tuple[Path, str], cache: Path
    ) -> None:
        for path in files(cache):
            path.chmod(0o666)
        assert run(cache) == filled[1]
        assert {path.stat().st_mode & 0o777 for path in files(cache)} == {0o644}


@pytest.mark.parametrize(
    "private",
    [
        "caching._Cache",
        "compiler.CompileResult",
        "compiler.CompileResult._rebuild",
        "compiler.CompileResult._reduce",
        "runtime.rtsys",
        "serialize.dumps",
    ],
)
def test_without_a_private_part_of_numba_there_is_no_cache(
    private: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(f"numba.core.{private}")
    assert disk._disk_cache() is None


def test_another_abstract_cache_of_numba_means_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(abc.ABC):
        @abc.abstractmethod
        def new(self) -> None: ...

    monkeypatch.setattr("numba.core.caching._Cache", Changed)
    assert disk._disk_cache() is None


def test_whatever_the_cache_runs_into_it_compiles() -> None:
    """Attributes of Numba that this version does not have."""
    cache = compiled.DRIVERS["sums"][False]._cache
    assert cache.load_overload((), None) is None
    cache.save_overload((), None)


def test_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    for age in (10.0, 7200.0):
        path = tmp_path / f"a.nbc.{age}{disk._UNFINISHED}"
        path.write_bytes(b"")
        os.utime(path, (time.time() - age,) * 2)
    disk._sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nbc.10.0.tmp"]


@pytest.mark.slow
@pytest.mark.long
def test_without_all_private_parts_of_numba_results_are_the_same(sums: str, tmp_path: Path) -> None:
    """As with a release of Numba that renames them: slower, but no error."""
    hide = """
import sys, types
import numba, numba.np.ufunc.parallel
numba.njit(lambda a: a + 1.0)(1.0)  # so that Numba itself has loaded its parts
for name in ("core.caching", "core.compiler_lock", "misc.appdirs"):
    sys.modules["numba." + name] = types.ModuleType(name)
del numba.np.ufunc.parallel._is_initialized
from fastfit.kernels import cache, threads
assert cache.DiskCache is None
assert not threads._numba_has_started_threads()
assert len(cache._folders()) == 1
"""
    assert run(tmp_path / "cache", hide + KERNEL) == sums
    assert not list(tmp_path.rglob("*.nbc"))
