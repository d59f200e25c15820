"""Points in arrays and data frames of Dask: partitions, computed wherever its scheduler puts them.

Results of partitions are combined in a tree whose shape depends on the number of partitions alone. So the bits of a fit
depend neither on the workers nor on which partition is ready first.
"""

from __future__ import annotations

import copy
import functools
import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fastfit.columns import real_array
from fastfit.containers import is_masked, values_of
from fastfit.points.base import Plan, Points, Reading, Source
from fastfit.points.parts import Part, PartedPoints, Pass
from fastfit.times import is_time

# Results that one task combines.
FAN_IN = 32


class DaskPoints(PartedPoints, Source):
    """Columns of Dask as points: one graph per pass, computed by the scheduler that is set when it is asked for.

    Nothing is computed before a fit, and nothing is kept between passes: a least-squares fit computes the columns once,
    a robust fit as a rule 5 to 9 times. If computing them is slow and they fit in memory, call ``persist()`` on them
    first.

    Parameters
    ----------
    x, y : dask.array.Array or dask.dataframe.Series
        One-dimensional, or a single column. Chunks of known sizes need not match. If sizes are unknown, both must have
        the same number of partitions, of equal lengths, which is checked when they are read. One column may be an array
        of NumPy, which is cut like the other if its chunks are known.
    sample_weight, sigma : the same, or a number; optional
        As in :func:`fastfit.fit_line`.
    keys : sequence of dask.dataframe.Series
        Columns of keys, for groups.

    Raises
    ------
    TypeError, ValueError
        If columns have different lengths or numbers of partitions, or more than one dimension.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        sigma: Any = None,
        keys: Sequence[Any] = (),
    ) -> None:
        super().__init__(Reading(n_threads=1))
        given = {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma}
        for name in ("x", "y"):
            if given[name] is None:
                raise TypeError(f"{name} must be an array of numbers; got None")
        found = _columns({k: v for k, v in given.items() if v is not None})
        self._numbers, self._columns = found
        self._keys = tuple(keys)
        for key in self._keys:
            counts = getattr(key, "npartitions", None), self.n_partitions
            if not (_is_series(key) and _is_series(next(iter(self._columns.values())))):
                raise TypeError(
                    "by must be a column of a data frame of Dask, like x and y; got "
                    f"{type(key).__name__}: use dask.dataframe"
                )
            if len(set(counts)) > 1:
                raise ValueError(f"columns of Dask must have as many partitions each; got {counts}")

    def __repr__(self) -> str:
        names = ", ".join([*self._columns, *self._numbers])
        return f"DaskPoints({names}; {self.n_partitions:,} partitions)"

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return int(next(iter(self._columns.values())).npartitions)

    @property
    def columns(self) -> set[str]:
        """Names of the columns and numbers."""
        return {*self._columns, *self._numbers}

    @property
    def has_sigma(self) -> bool:
        """Whether there are standard deviations of y."""
        return "sigma" in self._columns or "sigma" in self._numbers

    @contextmanager
    def opened(self, reading: Reading, plan: Plan) -> Iterator[Points]:
        """Yield the points, to be read by one thread in each task."""
        self.refuse_checkpoint(plan)
        plan.announce()
        points = copy.copy(self)
        PartedPoints.__init__(points, replace(reading, n_threads=1))
        yield points

    def _reduce(self, task: Pass) -> Any:
        """Return the result of a pass over all partitions: one graph, one compute."""
        from dask.delayed import Delayed
        from dask.highlevelgraph import HighLevelGraph

        # Unique across processes: a scheduler takes tasks of the same name for the same.
        name = f"fastfit-{type(task).__name__.lower()}-{uuid.uuid4().hex}"
        sources, found, graph = self._leaves(task, name)
        # As one object, which Dask does not search for keys.
        combine = functools.partial(_combined, task)
        level = 0
        while len(found) > 1:
            level += 1
            groups = [found[k : k + FAN_IN] for k in range(0, len(found), FAN_IN)]
            found = [(f"{name}-combined-{level}", k) for k in range(len(groups))]
            graph |= {key: (combine, keys) for key, keys in zip(found, groups, strict=True)}
        root = found[0]
        whole = HighLevelGraph.from_collections(root, graph, dependencies=sources)
        if sources and not _is_series(sources[0]) and len(whole.layers) > len(sources) + 1:
            from dask.array.optimization import optimize

            # Fuse the tasks that lead to the chunks, as Dask does when it computes arrays.
            whole = optimize(whole, [root])
        return _unboxed(Delayed(root, whole).compute())

    def _leaves(self, task: Pass, name: str) -> tuple[list[Any], list[Any], dict[Any, Any]]:
        """Return what the tasks of partitions depend on, the keys of their results, and these tasks."""
        names, columns = list(self._columns), list(self._columns.values())
        if _is_series(columns[0]):
            import pandas as pd
            from dask.dataframe import map_partitions

            # One expression, so that Dask reads a file once for all of its columns.
            found = map_partitions(
                _of_series,
                *columns,
                *self._keys,
                task=task,
                names=names,
                numbers=self._numbers,
                meta=pd.Series([], dtype=object),
                align_dataframes=False,
            ).optimize()
            return [found], found.__dask_keys__(), {}
        if not any(math.isnan(size) for column in columns for size in column.chunks[0]):
            from dask.array.core import unify_chunks

            _, columns = unify_chunks(*(each for column in columns for each in (column, "i")))
        keys = [(name, k) for k in range(columns[0].npartitions)]
        leaf = functools.partial(_of_arrays, task, names, self._numbers)
        chunks = [_chunks(column) for column in columns]
        graph = {key: (leaf, key[1], *own) for key, *own in zip(keys, *chunks, strict=True)}
        sources = [c for c, own in zip(columns, chunks, strict=True) if isinstance(own[0], tuple)]
        return sources, keys, graph


def _chunks(column: Any) -> list[Any]:
    """Return the chunks of an array if they are in memory already, else the keys of the tasks that compute them."""
    keys = [(column.name, k) for k in range(column.npartitions)]
    if len(getattr(column.dask, "layers", ())) > 1:
        return keys  # tasks lead to the chunks; looking them up would build them all
    # A graph holds data as they are, or as the value of a node.
    chunks = [getattr(node, "value", node) for node in map(column.dask.get, keys)]
    there = all(isinstance(chunk, np.ndarray) and chunk.ndim == 1 for chunk in chunks)
    return chunks if there else keys


def _of_arrays(task: Pass, names: list[str], numbers: Any, place: int, *columns: Any) -> Any:
    own = dict(zip(names, columns, strict=True))
    return task.chunk(Part(**own, **numbers, name=f"partition {place:,}", first=0))


def _of_series(
    *columns: Any, task: Pass, names: list[str], numbers: Any, partition_info: Any = None
) -> Any:
    import pandas as pd

    own = dict(zip(names, columns, strict=False))
    keys = columns[len(names) :]
    name = "a partition"
    if partition_info and partition_info.get("number") is not None:
        name = f"partition {partition_info['number']:,}"
    box = np.empty(1, dtype=object)
    box[0] = task.chunk(Part(**own, **numbers, name=name, first=0, keys=keys))
    return pd.Series(box)


def _combined(task: Pass, found: Sequence[Any]) -> Any:
    first, *others = map(_unboxed, found)
    for other in others:
        first = task.combine(first, other)
    return first


def _unboxed(found: Any) -> Any:
    """Return a result, taken out of the Series that a partition of a data frame returns."""
    return found.iloc[0] if hasattr(found, "iloc") else found


def _is_series(column: Any) -> bool:
    return hasattr(column, "to_dask_array")


def _columns(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return single numbers, and columns in partitions that match, all Series or all arrays; raise if they do not."""
    for name, each in given.items():
        if hasattr(each, "dask") and "ndim" not in dir(type(each)):
            raise TypeError(
                f"{name} must be an array of numbers; got {type(each).__name__} of Dask, which is neither "
                "an array nor a column of a data frame"
            )
    numbers = {
        name: each
        for name, each in given.items()
        if np.ndim(each) == 0 and not hasattr(each, "dask")
    }
    columns = {name: each for name, each in given.items() if name not in numbers}
    for name, number in numbers.items():
        if name in ("x", "y"):
            raise TypeError(f"{name} must be an array of numbers; got {number!r}")
        real_array(number, name)
    if all(map(_is_series, columns.values())):
        counts = {name: column.npartitions for name, column in columns.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"columns of Dask must have as many partitions each; got {counts}")
        return numbers, columns
    columns = {name: _array(name, column) for name, column in columns.items()}
    cut = next(column for column in columns.values() if hasattr(column, "dask"))
    for name, column in columns.items():
        if not hasattr(column, "dask"):
            columns[name] = _cut_like(cut, name, column)
    lengths = {name: sum(column.chunks[0]) for name, column in columns.items()}
    known = {name: int(length) for name, length in lengths.items() if not math.isnan(length)}
    if len(set(known.values())) > 1:
        shown = " and ".join(f"{length:,} ({name})" for name, length in known.items())
        raise ValueError(f"x and y, and their weights, must have the same length; got {shown}")
    counts = {name: column.npartitions for name, column in columns.items()}
    if len(known) < len(columns) and len(set(counts.values())) > 1:
        raise ValueError(
            "arrays with chunks of unknown sizes must have as many chunks each; "
            f"got {counts}: call compute_chunk_sizes() on them first"
        )
    return numbers, columns


def _array(name: str, column: Any) -> Any:
    """Return a one-dimensional array of Dask, or of NumPy."""
    if _is_series(column):
        if column.ndim != 1:
            raise ValueError(
                f"{name} must be one-dimensional; got a data frame: name one of its columns"
            )
        column = column.to_dask_array()
    elif not hasattr(column, "dask"):
        array, missing, *_ = values_of(column, name)
        if not is_time(array):  # which are converted in their parts
            array = real_array(column, name)
        elif missing is not None:
            array = np.where(missing, np.array("NaT", dtype=array.dtype), array)
        column = column if is_masked(column) else array
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, or a single column; got an array of shape {column.shape}"
        )
    return column


def _cut_like(cut: Any, name: str, column: Any) -> Any:
    import dask.array as da

    sizes = cut.chunks[0]
    if any(math.isnan(size) for size in sizes):
        raise ValueError(
            f"{name} is an array of NumPy, which cannot be cut like chunks of unknown sizes: "
            "call compute_chunk_sizes() on those first"
        )
    chunks = cut.chunks if sum(sizes) == column.size else -1
    return da.from_array(column, chunks=chunks, name=False)
