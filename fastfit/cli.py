"""The command line: ``fastfit fit``, ``fastfit demo``, ``fastfit bench`` and ``fastfit info``."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import numpy as np
import typer

from fastfit import worked_example
from fastfit._version import __version__
from fastfit.fit import fit_line
from fastfit.lines import report
from fastfit.lines.groups import fit_groups
from fastfit.lines.result import LineFits
from fastfit.lines.rolling import fit_rolling
from fastfit.losses import LOSSES, Loss, RobustLoss, as_loss
from fastfit.outcome import ConvergenceWarning, Status
from fastfit.points.files.progress import display
from fastfit.points.files.scan import FilePoints, scan
from fastfit.result import LineFit
from fastfit.solvers.base import Solver
from fastfit.solvers.exact import Exact
from fastfit.solvers.gradient_descent import GradientDescent
from fastfit.solvers.newton import Newton
from fastfit.times import UNITS, Unit

app = typer.Typer(
    help="Fit a straight line to millions of points.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Backend(StrEnum):
    """What computes the passes."""

    NUMBA = "numba"
    NUMPY = "numpy"


class SolverName(StrEnum):
    """How the line is found."""

    AUTO = "auto"
    EXACT = "exact"
    GRADIENT_DESCENT = "gradient_descent"
    NEWTON = "newton"


class Passes(StrEnum):
    """Whether a descent reads the points at every step or once."""

    AUTO = "auto"
    SAMPLES = "samples"
    MOMENTS = "moments"


TimeUnitName = StrEnum("TimeUnitName", {unit: unit for unit in UNITS})  # type: ignore[misc]

# Options of the descent that Newton's method has too.
_OF_NEWTON = {"max_iter", "tol", "record_every"}


def _option(help_text: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_text, metavar=metavar)


BackendOption = Annotated[Backend, _option("What computes the passes.")]
JsonOption = Annotated[bool, _option("Print JSON.", "--json")]
PlotOption = Annotated[Path | None, _option("Write a picture to this file.", metavar="OUT.png")]


def _as_option(found: re.Match[str]) -> str:
    return f"--{found[1].replace('_', '-')}"


# Options of Python in messages, as a shell has them.
_IN_SHELL: tuple[tuple[str, Any], ...] = (
    (r"decimal_comma=True", "--decimal-comma"),
    (r"decimal_comma=False", "--decimal-point"),
    (r"null_values=\['(.*?)'\]", r"--null-value '\1'"),
    (r"pass comment or skip_rows", "pass --comment or --skip-rows"),
    (r"pass (separator|format)\b", r"pass --\1"),
    (r"; derive a column of numbers with a query of Polars", "; name a column of numbers"),
    (r"^null_values\b", "--null-value"),
    (r"pass encoding", "pass --encoding"),
    (r"\bsample_weight\b", "--weight"),
    (
        r"^.*solver 'exact' needs loss='squared_error'.*",
        "--solver exact needs --loss squared_error",
    ),
    (
        r"^.*passes='moments' needs loss='squared_error'.*",
        "--passes moments needs --loss squared_error",
    ),
    (
        r"^.*datetime_unit must be None unless x holds times",
        "--datetime-unit must be left out unless x holds times",
    ),
    (r", or None to find it", ", or be left out"),
    (
        r": with window_in='x', a number is a width in x",
        ": write a width in x as a number with a point, such as 7.0",
    ),
    (r"give x and y\b", "give --x and --y"),
    (r"x and y must be named", "--x and --y must be given"),
    (r"\S*[/\\]stdin\.\w+", "standard input"),  # its copy
    (r"n_threads", "--threads"),
    (r"rng must be None unless init is 'random'", "--seed must be left out without --init random"),
    (r"^rng\b", "--seed"),
    (
        r"absolute_sigma must be False unless sigma is given; got True",
        "--absolute-sigma needs --sigma",
    ),
    (
        r"No nan_policy leaves infinities out: remove them, or turn them into NaN and pass nan_policy='omit'",
        "Remove them, or leave their cells empty",
    ),
    (
        r"^(loss|tol|max_iter|learning_rate|record_every|f_scale|datetime_unit|max_points|"
        r"separator|decimal_comma|comment|skip_rows|encoding|sheet_name|format)\b",
        _as_option,
    ),
)


# Options in advice about a fit that did not converge.
_IN_ADVICE: tuple[tuple[str, Any], ...] = (
    (
        r"Pass standardize=True and learning_rate='auto'",
        "Leave out --no-standardize and --learning-rate",
    ),
    (r"Pass learning_rate='auto'", "Leave out --learning-rate"),
    (r"or use Newton", "or leave out --solver"),
    (r"pass loss='tukey'", "use --loss tukey"),
    (r"\b(max_iter|learning_rate|f_scale|tol)\b", _as_option),
)


def _in_shell(message: str, options: tuple[tuple[str, Any], ...] = _IN_SHELL) -> str:
    for pattern, option in options:
        message = re.sub(pattern, option, message)
    return message


def _fail(error: Exception) -> NoReturn:
    message = _in_shell(" ".join(str(error).split()))
    typer.echo(f"fastfit: error: {message}", err=True)
    raise typer.Exit(2)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # The message is printed with the fit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield
    except typer.Exit:  # no error, but a RuntimeError
        raise
    except (ValueError, TypeError, ImportError, OSError, MemoryError, RuntimeError) as error:
        _fail(error)
    except KeyboardInterrupt as interrupt:
        notes = getattr(interrupt, "__notes__", [])  # about the checkpoint
        said = "; ".join(["fastfit: interrupted", *notes])
        typer.echo(said.replace("the same call", "the same command"), err=True)
        raise typer.Exit(130) from None


def _pair(text: str | None) -> tuple[float, float] | str | None:
    if text is None or text == "random":
        return text
    try:
        slope, intercept = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--init must be SLOPE,INTERCEPT (such as --init=-2,1) or random; got {text!r}"
        ) from None
    return slope, intercept


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # a word such as "auto"; any other is an error of the object that takes it


def _loss(name: str, f_scale: str | None) -> Loss:
    """Return the loss with the scale that was given; raise ValueError if it has none."""
    return as_loss(name, None if f_scale is None else _number_or_word(f_scale))


def _solver(name: SolverName, loss: Loss, given: dict[str, Any]) -> Solver:
    """Return the solver with the options that were given; raise ValueError if it does not have one of them."""
    of_newton = set(given) <= _OF_NEWTON
    if name is SolverName.AUTO:
        if isinstance(loss, RobustLoss):
            name = SolverName.NEWTON if of_newton else SolverName.GRADIENT_DESCENT
        else:
            name = SolverName.GRADIENT_DESCENT if given else SolverName.EXACT
    if name is SolverName.GRADIENT_DESCENT:
        return GradientDescent(**given)
    exact = name is SolverName.EXACT or not isinstance(loss, RobustLoss)
    if name is SolverName.NEWTON and of_newton and not (exact and given):
        return Newton(**given)
    if given:
        wrong = set(given) if exact else set(given) - _OF_NEWTON
        options = ", ".join("--" + option.replace("_", "-") for option in given if option in wrong)
        options = options.replace("--rng", "--seed")
        why = "which solves least squares at once" if exact else "which has no such options"
        raise ValueError(f"{options} must be left out with --solver {name.value}, {why}")
    return Exact()


_FILES = (
    "Files (.parquet, .csv, .tsv, .txt, .dat, packed ones too, .arrow, .feather, .npy, .xlsx), folders, patterns, "
    "URLs, or - for standard input."
)
_SOLVER = (
    "How the line is found; auto is exact for squared error and newton for robust losses, "
    "unless an option of the descent is given."
)
_INIT = "Line to start from: random, or SLOPE,INTERCEPT as in --init=-2,1."
_STANDARDIZE = "Descend on axes with mean 0 and standard deviation 1; else in units of the columns, often slowly."
_LOSS = f"What a residual costs: {', '.join(LOSSES)}; robust but for the first."
_F_SCALE = "Residual at which a robust loss bends, or mad: from the residuals, the default."
_SEPARATOR = "What separates the fields of a text file; found by its first lines if left out."
_DECIMAL_COMMA = "Whether numbers have a comma for a decimal point; found by the first lines."
_COMMENT = "What lines start with that are no rows; # by default."
_NULL_VALUE = "A word for a missing value; may be given several times."
_ENCODING = "Encoding of a text file, such as latin-1."
_SHEET_NAME = "Sheet of a workbook; the first one by default."
_FORMAT = "Format of the files, such as csv or parquet; by default, what their names end in."
_DATETIME_UNIT = "Unit of x in the slope, where x holds times; seconds by default."
_CHECKPOINT = "Keep in this file what was read, so that the same command goes on from there."
_BANDS = "Draw the bands of the line and of new points; of a robust line, the former."
_BY = "Column of keys: fit a line for each key; may be given several times."
_ROLLING = (
    "Fit a line for the window at each row: a number of rows, or a width in x, such as 7D or 90min."
)
_STEP = "With --rolling, fit a line at every N-th row only."
_MIN_POINTS = "Fewest points of a line. By default 2; with --rolling N, N."
_OUT = "Write all lines to this file."
_LEVEL = "Probability of intervals and bands, between 0 and 1."


@app.command()
def fit(
    files: Annotated[list[str], typer.Argument(help=_FILES, metavar="FILE...")],
    x: Annotated[str | None, _option("Column of x (of a .npy table, its number from 0).")] = None,
    y: Annotated[str | None, _option("Column of y.")] = None,
    weight: Annotated[
        str | None, _option("Column of weights: 2 is the point twice.", metavar="COL")
    ] = None,
    sigma: Annotated[
        str | None, _option("Column of standard deviations of y.", metavar="COL")
    ] = None,
    absolute_sigma: Annotated[
        bool, _option("Take errors from sigma, not from residuals.", "--absolute-sigma")
    ] = False,
    intercept: Annotated[
        bool, _option("Fit an intercept; without, the line passes the origin.")
    ] = True,
    by: Annotated[list[str] | None, _option(_BY, metavar="COL")] = None,
    rolling: Annotated[str | None, _option(_ROLLING, metavar="N|WIDTH")] = None,
    step: Annotated[int | None, _option(_STEP, metavar="N")] = None,
    min_points: Annotated[int | None, _option(_MIN_POINTS, metavar="N")] = None,
    out: Annotated[Path | None, _option(_OUT, metavar="OUT.parquet|.csv")] = None,
    loss: Annotated[str, _option(_LOSS, metavar="NAME")] = "squared_error",
    f_scale: Annotated[str | None, _option(_F_SCALE, metavar="NUMBER|mad")] = None,
    solver: Annotated[SolverName, _option(_SOLVER)] = SolverName.AUTO,
    init: Annotated[str | None, _option(_INIT, metavar="PAIR")] = None,
    seed: Annotated[int | None, _option("Seed of --init random.")] = None,
    learning_rate: Annotated[
        str | None, _option("Step length, or auto.", metavar="NUMBER|auto")
    ] = None,
    standardize: Annotated[
        bool | None, _option(_STANDARDIZE, "--standardize/--no-standardize")
    ] = None,
    max_iter: Annotated[int | None, _option("Largest number of steps.")] = None,
    tol: Annotated[
        float | None, _option("How close to zero the gradient must come, free of units.")
    ] = None,
    record_every: Annotated[int | None, _option("Print every N-th state, and the last.")] = None,
    passes: Annotated[Passes | None, _option("Read the points at every step, or once.")] = None,
    separator: Annotated[str | None, _option(_SEPARATOR, metavar="CHAR")] = None,
    decimal_comma: Annotated[
        bool | None, _option(_DECIMAL_COMMA, "--decimal-comma/--decimal-point")
    ] = None,
    comment: Annotated[str | None, _option(_COMMENT, metavar="TEXT")] = None,
    skip_rows: Annotated[int | None, _option("Number of lines above the header.")] = None,
    null_value: Annotated[list[str] | None, _option(_NULL_VALUE, metavar="WORD")] = None,
    encoding: Annotated[str | None, _option(_ENCODING, metavar="NAME")] = None,
    sheet_name: Annotated[str | None, _option(_SHEET_NAME, metavar="NAME")] = None,
    format_: Annotated[str | None, _option(_FORMAT, "--format", metavar="NAME")] = None,
    datetime_unit: Annotated[TimeUnitName | None, _option(_DATETIME_UNIT)] = None,
    threads: Annotated[int | None, _option("Largest number of threads.")] = None,
    checkpoint: Annotated[Path | None, _option(_CHECKPOINT, metavar="PATH")] = None,
    progress: Annotated[
        bool, _option("Show how far the work has come, on a terminal.", "--progress/--no-progress")
    ] = True,
    backend: BackendOption = Backend.NUMBA,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    bands: Annotated[bool, _option(_BANDS, "--bands")] = False,
    level: Annotated[float, _option(_LEVEL)] = 0.95,
) -> None:
    """Fit a line to two columns of files, by least squares or by a robust loss.

    Rows with a missing value are left out, and counted. Columns need no names where the file has just two. Files may be
    larger than memory: then they are read once for least squares, and as a rule 5 to 10 times for a robust loss.
    Options from --init to --passes belong to gradient_descent; newton takes --max-iter, --tol and --record-every.
    With --by or --rolling there are many lines: the first and the most significant are printed, and --out writes all.

    Example: fastfit fit flights.parquet --x distance --y air_time --plot flights.png
    """
    with _errors_in_one_line():
        _check_plot(plot)
        if bands and plot is None:
            raise ValueError("--bands must be left out without --plot")
        if not 0.0 < level < 1.0:  # before a long fit
            raise ValueError(f"--level must be a probability between 0 and 1; got {level}")
        options = {
            "init": _pair(init),
            "rng": seed,
            "learning_rate": None if learning_rate is None else _number_or_word(learning_rate),
            "standardize": standardize,
            "max_iter": max_iter,
            "tol": tol,
            "record_every": record_every,
            "passes": None if passes is None else passes.value,
        }
        given = {name: value for name, value in options.items() if value is not None}
        chosen_loss = _loss(loss, f_scale)
        if sigma is not None and isinstance(chosen_loss, RobustLoss):
            raise ValueError(f"--sigma must be left out with --loss {loss}")
        has_many = bool(by) or rolling is not None
        _require(has_many, "--by or --rolling", {"out": out, "min-points": min_points})
        _require(rolling is not None, "--rolling", {"step": step})
        if has_many:
            _refuse_options_of_one_line(
                {
                    **given,
                    "solver": solver,
                    "checkpoint": checkpoint,
                    "bands": bands,
                    "backend": backend,
                }
            )
        chosen = _solver(solver, chosen_loss, given)
        points = scan(
            files,
            x,
            y,
            weight,
            sigma=sigma,
            by=by or None,
            separator="\t" if separator == "\\t" else separator,
            decimal_comma=decimal_comma,
            comment=comment,
            skip_rows=skip_rows,
            null_values=null_value or (),
            encoding=encoding,
            sheet_name=sheet_name,
            format=format_,
        )
        if out is not None:
            report.check_path(out, [*files, *points.paths])
        unit = cast(Unit, datetime_unit.value) if datetime_unit else None
        if has_many:
            many: dict[str, Any] = {
                "loss": chosen_loss,
                "fit_intercept": intercept,
                "absolute_sigma": absolute_sigma,
                "datetime_unit": unit,
                "n_threads": threads,
                "progress": progress,
            }
            numbers = {"step": step, "min_points": min_points}
            many |= {name: value for name, value in numbers.items() if value is not None}
            fits = _many_lines(points, rolling, many)
            if out is not None:
                report.write(fits, out)
            if plot is not None:
                from fastfit.plotting import axes_to_save, save

                save(fits.plot(axes_to_save(), level=level), plot)
            _print_many(fits, as_json=as_json)
            return
        with display(progress) as shown:
            if shown is not None and isinstance(chosen, GradientDescent):
                most = chosen.max_iter
                chosen = replace(chosen, callback=lambda state: shown.iterate(state, most))
            result = fit_line(
                points,
                loss=chosen_loss,
                solver=chosen,
                fit_intercept=intercept,
                absolute_sigma=absolute_sigma,
                nan_policy="omit",
                datetime_unit=unit,
                n_threads=threads,
                backend=backend.value,
                checkpoint=checkpoint,
                progress=progress,
            )
            if plot is not None:
                robust = isinstance(chosen_loss, RobustLoss)
                asked = {"confidence_band": bands, "prediction_band": bands and not robust}
                _draw(result, points, plot, level=level, **asked)
    # What has converged needs no advice about options of the descent.
    message = _in_shell(result.message, _IN_ADVICE[:-1] if result.converged else _IN_ADVICE)
    shown_once = "" if not (as_json or result.converged) else message
    _print(result, as_json=as_json, level=level, message=shown_once)
    if not result.converged:
        typer.echo(f"fastfit: warning: {message}", err=True)
        raise typer.Exit(3)


def _refuse_options_of_one_line(given: dict[str, Any]) -> None:
    """Raise ValueError about options that many lines do not have."""
    usual = {
        "solver": SolverName.AUTO,
        "backend": Backend.NUMBA,
        "checkpoint": None,
        "bands": False,
    }
    for name, value in given.items():
        if name not in usual or value != usual[name]:
            option = "seed" if name == "rng" else name.replace("_", "-")
            raise ValueError(f"--{option} must be left out with --by or --rolling")


def _require(is_there: bool, needed: str, given: dict[str, Any]) -> None:
    """Raise ValueError about the first option that is given without another one that it needs."""
    for name, value in given.items():
        if value is not None and not is_there:
            raise ValueError(f"--{name} must be left out without {needed}")


def _many_lines(points: FilePoints, rolling: str | None, options: dict[str, Any]) -> LineFits:
    if rolling is None:
        return fit_groups(points, **options)
    if re.fullmatch(r"\d+", rolling):
        return fit_rolling(points, window=int(rolling), **options)
    try:
        width = float(rolling)
    except ValueError:
        return fit_rolling(points, window=rolling, **options)
    return fit_rolling(points, window=width, window_in="x", **options)


def _print_many(fits: LineFits, *, as_json: bool) -> None:
    if as_json:
        counts = {"n_lines": fits.size, "n_ungrouped": fits.n_ungrouped}
        _write(json.dumps({**counts, "lines": fits.to_dict()}, allow_nan=False))
    else:
        _write(report.text_of(fits))
    unsure = sum(status in (Status.MAX_ITER, Status.STALLED) for status in fits.status)
    if not fits.converged.any():
        typer.echo("fastfit: warning: no line could be fitted; --out and --json say why", err=True)
        raise typer.Exit(3)
    if unsure:
        typer.echo(
            f"fastfit: warning: {unsure:,} of {fits.size:,} lines did not converge", err=True
        )
        raise typer.Exit(3)


def _check_plot(plot: Path | None) -> None:
    """Raise at once what would keep a picture from being written after a long fit."""
    if plot is not None:
        from fastfit.plotting import check_path

        check_path(plot)


def _draw(result: LineFit, points: FilePoints, plot: Path, **options: Any) -> None:
    from fastfit.plotting import axes_to_save, save

    axes = result.plot(axes_to_save(), **options)
    more = f" and {len(points.paths) - 1:,} more" if len(points.paths) > 1 else ""
    axes.set_title(f"{Path(points.paths[0]).name}{more}: {axes.get_title()}")
    save(axes, plot)


@app.command()
def demo(
    backend: BackendOption = Backend.NUMBA,
    as_json: JsonOption = False,
    plot: PlotOption = None,
) -> None:
    """Run the worked example: 4,750 steps of gradient descent on twenty points, every 250th printed."""
    with _errors_in_one_line():
        _check_plot(plot)
        result = worked_example.run(backend.value)
        if plot is not None:
            from fastfit.plotting import draw_descent, save

            save(draw_descent(result, np.array(worked_example.X), np.array(worked_example.Y)), plot)
    if as_json:
        _print(result, as_json=True)
    else:
        _write(str(result.history))


@app.command()
def bench(
    max_points: Annotated[int, _option("Largest number of points, 16 bytes each.")] = 10_000_000,
    threads: Annotated[int | None, _option("Largest number of threads.")] = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
) -> None:
    """Measure how fast fits are on this machine, compared with a bare read of the points and with NumPy.

    It wants an idle machine, looks whether it has one, and takes less than a minute up to ten million points. The share
    of the read limit is the time of a bare read of what the fit has read, over the time of the fit. NumPy's way is
    polyfit, three expressions for a step, and reweighted least squares.
    """
    from fastfit.speed import throughput

    with _errors_in_one_line():
        _check_plot(plot)
        with display() as shown:
            watch = None if shown is None else shown.share
            report = throughput.measure(max_points, threads, watch)
        if plot is not None:
            from fastfit.plotting import save
            from fastfit.speed.picture import draw_throughput

            save(draw_throughput(report), plot)
    if as_json:
        _write(json.dumps(report.to_dict(), allow_nan=False))
    else:
        _write(str(report))


@app.command()
def info(as_json: JsonOption = False) -> None:
    """Print versions, processor, threads and where compiled code is kept: what a report of a bug should carry."""
    from fastfit.kernels.cache import folder_of_compiled_code
    from fastfit.speed.machine import libraries, machine

    with _errors_in_one_line():
        compiled = str(folder_of_compiled_code())
        found = {**machine(), "compiled code": compiled, "libraries": libraries()}
    if as_json:
        _write(json.dumps(found))
        return
    found["caches"] = ", ".join(f"{k} {v // 1024:,} KiB" for k, v in found["caches"].items())
    found.update({f"  {name}": version or "-" for name, version in found.pop("libraries").items()})
    width = max(map(len, found))
    _write(
        "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in found.items())
    )


def _print(
    result: LineFit, *, as_json: bool, level: float = 0.95, message: str | None = None
) -> None:
    if as_json:
        text = result.message if message is None else message
        _write(json.dumps({**result.to_dict(level), "message": text}, allow_nan=False))
        return
    if result.history is not None:
        _write(f"{result.history}\n")
    _write(result.summary(level, message=message))


def _write(text: str) -> None:
    """Write to stdout; a full disk is an error in one line, and a closed pipe is not."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(OSError(f"stdout cannot be written: {error.strerror}"))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"fastfit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fit a straight line to millions of points."""
