"""Record the exact results of about two hundred fits, and compare them with an earlier record.

``python -m bench.bits record FILE`` before a change, ``python -m bench.bits compare FILE`` after it. Only public names
are used, so any two revisions can be compared. Floats are written with ``float.hex``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastfit as ff
from fastfit.compat import linregress, polyfit

LOSSES = ("squared_error", "huber", "soft_l1", "cauchy", "tukey")
SOLVERS: dict[str, Any] = {
    "auto": "auto",
    "newton": ff.Newton(record_every=1),
    "descent": ff.GradientDescent(record_every=5, max_iter=40),
    "raw": ff.GradientDescent((-2.0, 1.0), 0.01, standardize=False, max_iter=60, record_every=20),
    "samples": ff.GradientDescent(passes="samples", record_every=1, max_iter=30),
    "random": ff.GradientDescent(init="random", rng=3, max_iter=25, record_every=5),
}
# More points than are kept in memory after the first pass over a file.
MANY = 4_300_000


def exact(value: Any) -> Any:
    """Return a result in types that JSON has, without rounding."""
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [exact(each) for each in value]
    return float(value).hex() if isinstance(value, (float, np.floating)) else str(value)


def points(n: int, seed: int = 1) -> tuple[Any, Any, Any]:
    """Return x, y with outliers, and weights."""
    rng = np.random.default_rng(seed)
    x, noise = rng.random(n), rng.standard_t(3, n)
    return x, 0.5 * x + 1.0 + 0.1 * noise, rng.integers(0, 4, n) + 0.25


def fitted(x: Any, y: Any = None, **options: Any) -> Any:
    """Return every result of a fit, or its error."""
    try:
        fit = ff.fit_line(x, y, **options)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    more = {"band": fit.confidence_band(0.3), "predicted": fit.predict([0.1, 7.0])}
    return exact(fit.to_dict() | more | {"pvalue": fit.pvalue, "message": fit.message})


def in_memory() -> Iterator[tuple[str, Any]]:
    """Yield fits to arrays: losses x solvers, losses x options, losses x types and layouts."""
    for n in (50, 30_001, 100_000):
        x, y, w = points(n)
        for (name, solver), loss in itertools.product(SOLVERS.items(), LOSSES):
            if n == 50 or name == "auto" or (n == 30_001 and loss in ("huber", "tukey")):
                yield f"{n}/{name}/{loss}", fitted(x, y, loss=loss, solver=solver)
    x, y, w = points(20_000)
    options: dict[str, Any] = {
        "weights": {"sample_weight": w},
        "sigma": {"sigma": 0.1 + w},
        "known": {"sigma": 0.1 + w, "absolute_sigma": True},
        "both": {"sigma": 0.1 + w, "sample_weight": w},
        "origin": {"fit_intercept": False},
        "numpy": {"backend": "numpy"},
        "weights-origin-numpy": {"fit_intercept": False, "sample_weight": w, "backend": "numpy"},
        "1-thread": {"n_threads": 1},
    }
    gaps = np.where(np.arange(20_000) % 97 == 5, np.nan, y)
    table = np.column_stack([x, y])
    stamps = 1_700_000_000_000_000_000 + np.sort((x * 1e12).astype(np.int64))
    kinds: dict[str, Any] = {
        "float32": (x.astype("f"), y.astype("f")),
        "strided": (table[:, 0], table[:, 1]),
        "nanoseconds": (stamps, y),
        "nanoseconds-both": (stamps, stamps // 3),
        "huge": (x * 1e200, y * 1e-190),
        "offset": (x + 1e13, y - 1e12),
        "line": (x, 3.0 * x + 1e-9 * y),
        "masked": (np.ma.masked_where(np.arange(20_000) % 3 == 1, x), y),
    }
    for loss in ("squared_error", "huber", "tukey"):
        for name, more in options.items():
            yield f"{name}/{loss}", fitted(x, y, loss=loss, **more)
        for name, (u, v) in kinds.items():
            for solver in ("auto", "gradient_descent"):
                yield f"{name}/{solver}/{loss}", fitted(u, v, loss=loss, solver=solver)
        omitting: Any = {"loss": loss, "nan_policy": "omit"}
        yield f"gaps/{loss}", fitted(x, gaps, **omitting)
        yield f"gaps-weights/{loss}", fitted(x, gaps, sample_weight=w, **omitting)
        singles = (values.astype("f") for values in (x, y))
        yield f"weighted-float32/{loss}", fitted(*singles, loss=loss, sample_weight=w.astype("f"))
        mean_loss = ff.objective(x, y, loss=loss, sample_weight=w)
        yield f"objective/{loss}", exact(mean_loss((0.4, 0.9)))
    for loss in (ff.Huber(0.1), ff.SoftL1(0.01), ff.Cauchy(0.2), ff.Tukey(0.5)):
        for name, solver in SOLVERS.items():
            yield f"{name}/{loss!r}", fitted(x, y, loss=loss, solver=solver)


def elsewhere(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield fits to moments, files and Dask arrays, and the results of the drop-ins."""
    import dask.array as da
    import polars as pl

    for n in (1_000, 70_000, MANY):
        x, y, w = points(n, 2)
        table = pl.DataFrame({"x": x, "y": y, "w": w})
        table.write_parquet(folder / "t.parquet", row_group_size=200_000)
        weighted = ff.scan(folder / "t.parquet", "x", "y", "w")
        u, v, k = (da.from_array(each, chunks=-(-n // 7)) for each in (x, y, w))
        for loss in ("squared_error", "huber", "tukey", ff.Cauchy(0.3)):
            if n < MANY or loss != "tukey":
                yield f"parquet/{n}/{loss}", fitted(weighted, loss=loss)
                yield f"dask/{n}/{loss}", fitted(u, v, sample_weight=k, loss=loss)
        merged = sum((ff.Moments.of(x[i::3] + i, y[i::3], w[i::3]) for i in range(3)), ff.Moments())
        fits = [fitted(merged), fitted(merged, solver=SOLVERS["raw"])]
        yield f"merged/{n}", [merged.to_json(), *fits]
        yield f"merged-origin/{n}", fitted(merged, fit_intercept=False)
        if n < MANY:
            scanned = ff.scan(folder / "t.parquet", "x", "y")
            for solver in ("descent", "samples"):
                yield f"parquet/{solver}/{n}", fitted(scanned, solver=SOLVERS[solver])
            table.write_csv(folder / "t.csv")
            yield f"csv/{n}", fitted(ff.scan(folder / "t.csv", "x", "y"), loss="huber")
            yield f"linregress/{n}", exact(linregress(x, y)._asdict())
            yield f"polyfit/{n}", exact(polyfit(x, np.column_stack([y, w]), 1, w=w, cov=True))


def main() -> None:
    """Record, or compare and exit with 1 if a result has changed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    before = json.loads(given.file.read_text()) if given.command == "compare" else {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ff.ConvergenceWarning)
        found = dict(itertools.chain(in_memory(), elsewhere(Path(folder))))
    if given.command == "record":
        given.file.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} results recorded")
        return
    changed = 0
    for name, was in before.items():
        now = found.get(name)
        if not (isinstance(was, dict) and isinstance(now, dict)):
            was, now = {"result": was}, {"result": now}  # noqa: PLW2901
        fields = [
            field for field in was if was[field] != now.get(field)
        ]  # new fields are no change
        changed += bool(fields)
        if fields:
            print(f"{name}: {', '.join(f'{k} {was[k]} -> {now.get(k)}'[:200] for k in fields)}")
    print(f"{len(before)} results, {changed} changed, {len(found.keys() - before)} new")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
