"""Is this tree slower than another revision? ``python bench/compare.py [BASE]``.

Base and head are installed in environments of their own and timed in turn (A B B A ...), in separate processes that
run side by side, one waiting while the other is timed. Within a process the shortest time counts; across the pairs of
processes, the median of the ratio of head to base. How much that may be off is told by the spread of the pairs, and
pairs are added until it is little enough, or the time is up. Head is slower where it is beyond both a relative and an
absolute threshold, each what chance alone exceeds in one run of a thousand, and slower in nearly all pairs. Nothing is
stored or looked up, so it runs on any machine.

Exit code 0: not slower; 1: slower, or broken; 2: no comparison was possible.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import ArrayLike
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from scipy import stats
from scipy.stats import mstats

ROOT = Path(__file__).resolve().parent.parent
# Chance alone is to fail one run of the gate in a thousand, all its workloads together. That is so of noise about one
# value, with outliers. For processes that are of two kinds, faster and slower ones, there is the next rule.
FALSE_ALARMS = 1e-3
# Of so many pairs, at most one may be faster where head is slower.
ONE_IN = 5
# A slowdown of less is none: compilers and linkers move code about, and that alone makes a few percent.
SMALLEST = 0.03
# Pairs of processes are added until chance could not explain this much, or the workload has had its seconds.
WANTED, MOST_SECONDS = 0.06, 30.0
FEWEST_PAIRS, MOST_PAIRS = 9, 31
# In each pair, so many turns of so many seconds for each side.
TURNS, SECONDS = 3, 0.02
# A process that takes longer to answer hangs, and is ended.
LONGEST = 300.0
# It is unclear whether head is slower where it may be by this, with 99 % confidence.
HIDDEN = 1.1
# A spread of nothing, seen in few pairs, is not believed: clocks and calls are no better than this.
RESOLUTION = 5e-4


class NoComparison(Exception):  # noqa: N818  # it is no error of the code's
    """There is nothing to compare, or no way to."""


@dataclass(frozen=True)
class Verdict:
    """What the times of a workload tell, in seconds, one for each process.

    ``ratio`` is head over base, ``low`` and ``high`` bound it with 99 % confidence; ``confidence`` is that in head
    being slower at all (or faster, where it is), all workloads taken together. ``state`` is ``slower``, ``faster``,
    ``same``, or ``unclear`` where the interval reaches beyond a tenth.
    """

    name: str
    base: list[float] = field(repr=False)
    head: list[float] = field(repr=False)
    ratio: float
    low: float
    high: float
    relative_threshold: float
    absolute_threshold: float
    confidence: float
    state: str

    @property
    def base_median(self) -> float:
        """The median across processes."""
        return statistics.median(self.base)

    @property
    def threshold(self) -> float:
        """The larger threshold, as a share of base."""
        return max(self.relative_threshold, self.absolute_threshold / self.base_median)

    def __str__(self) -> str:
        by = abs(self.ratio - 1.0)
        return (
            f"{self.name} is {self.state}{f' by {by:.1%}' if self.state != 'same' else ''} "
            f"(99 % interval {self.low - 1.0:+.1%} to {self.high - 1.0:+.1%}, confidence {_percent(self.confidence)})"
        )


def _percent(share: float) -> str:
    return "> 99.99 %" if share > 0.9999 else f"{100 * share:.2f} %"


def _error_of_median(values: Any) -> float:
    """Return the standard error of the median, by Maritz and Jarrett (Journal of the ASA 73, 1978)."""
    return float(mstats.mjci(values, prob=[0.5])[0])


def judge(name: str, base: ArrayLike, head: ArrayLike, n_workloads: int = 1) -> Verdict:
    """Return what paired times of base and head tell.

    Parameters
    ----------
    name : str
        The workload.
    base, head : array_like, shape (n,)
        Times in seconds, those of one pair of processes at the same place; at least 5.
    n_workloads : int
        How many are judged in one run. Each has its share of the false alarms.
    """
    base, head = np.asarray(base, dtype=float), np.asarray(head, dtype=float)
    logs = np.log(head / base)
    middle = float(np.median(logs))
    error = max(_error_of_median(logs), RESOLUTION / math.sqrt(logs.size))
    # The error is a guess itself. How far out chance then goes falls with the number of pairs, but not in the tails:
    # there, it stays that of the fewest (by simulation; tests/test_compare.py has some of it).
    chance = stats.t(FEWEST_PAIRS - 1)
    beyond_chance = float(chance.isf(FALSE_ALARMS / n_workloads))
    relative = max(SMALLEST, math.expm1(beyond_chance * error))
    ratio = math.exp(middle)
    # What is left in seconds once head is slower by that ratio, on a machine that itself has slow phases.
    absolute = beyond_chance * _error_of_median(head - ratio * base)
    difference = float(np.median(head - base))
    confidence = max(0.0, 1.0 - n_workloads * float(chance.sf(abs(middle) / error)))
    margin = float(chance.isf(0.005)) * error
    high, exceptions = math.exp(middle + margin), logs.size // ONE_IN
    if ratio - 1.0 > relative and difference > absolute and (logs <= 0.0).sum() <= exceptions:
        state = "slower"
    elif (
        1.0 / ratio - 1.0 > relative
        and -difference > absolute
        and (logs >= 0.0).sum() <= exceptions
    ):
        state = "faster"
    else:
        state = "unclear" if high > HIDDEN else "same"
    return Verdict(
        name,
        base.tolist(),
        head.tolist(),
        ratio,
        math.exp(middle - margin),
        high,
        relative,
        absolute,
        confidence,
        state,
    )


class Process:
    """A worker in the environment of one side."""

    def __init__(self, side: Side) -> None:
        self._name = side.name
        self._process = subprocess.Popen(
            [str(side.python), "-P", "-m", "bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=side.environment(),
            cwd=side.folder,
        )
        self.greeting: dict[str, Any] = {}

    def greet(self) -> None:
        """Wait until it has started."""
        self.greeting = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        hung = threading.Timer(LONGEST, self._process.kill)
        hung.daemon = True
        hung.start()
        try:
            line = self._process.stdout.readline()
        finally:
            hung.cancel()
        if not line:
            return {"error": f"the process ended with exit code {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a command."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says so
        return self._answer()

    def must(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a command that was answered before."""
        answer = self.ask(do, **arguments)
        if "error" in answer:
            what = arguments.get("name", do)
            raise NoComparison(
                f"{self._name} failed while it was timed, at {what}: {answer['error']}"
            )
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Side:
    """One of the two that are compared: a tree, what it is installed in, and the suite it is timed with."""

    name: str
    revision: str
    folder: Path
    python: Path = Path(sys.executable)
    in_place: bool = False

    @property
    def tree(self) -> Path:
        """Where its files are."""
        return self.folder / "tree"

    def use(self, suite: Path) -> None:
        """Take the benchmarks of a tree, and the worker beside this file."""
        shutil.rmtree(self.folder / "suite", ignore_errors=True)
        shutil.copytree(suite / "bench", self.folder / "suite" / "bench")
        shutil.copy(Path(__file__).with_name("worker.py"), self.folder / "suite" / "bench")

    def environment(self) -> dict[str, str]:
        """Return the environment variables of its processes."""
        paths = [self.folder / "suite", *([self.tree] if self.in_place else [])]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONHASHSEED": "0",
            "NUMBA_CACHE_DIR": str(self.folder / "cache"),
        }

    def install(self) -> None:
        """Make an environment with this tree and all that it needs."""
        python = self.folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        commands = [
            [sys.executable, "-m", "venv", str(self.folder / "env")],
            # With what drop-ins replace.
            [str(python), "-m", "pip", "install", "--quiet", f"{self.tree}[sklearn,stats]"],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoComparison(f"{self.name} can't be installed:\n{done.stderr.strip()}")
        self.python = python


def _git(*arguments: str, root: Path) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoComparison(done.stderr.strip() or f"git {' '.join(arguments)} failed")
    return done.stdout.strip()


def base_of(root: Path) -> str:
    """Return the revision where this branch left main."""
    for main in ("origin/main", "main"):
        with contextlib.suppress(NoComparison):
            return _git("merge-base", "HEAD", main, root=root)
    raise NoComparison("there is no branch main to compare with; name a revision")


def _export(revision: str | None, into: Path, root: Path) -> str:
    """Put the files of a revision there, or those of the working tree, and return what to call it."""
    into.mkdir(parents=True)
    if revision is None:
        names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", root=root)
        for name in filter(None, names.split("\0")):
            if (root / name).is_file():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, into / name)
        return "the working tree"
    try:
        commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", root=root)
    except NoComparison:
        raise NoComparison(f"{revision!r} is no revision of {root}") from None
    archive = into.with_suffix(".tar")
    _git("archive", "--output", str(archive), commit, root=root)
    shutil.unpack_archive(archive, into, filter="data")
    archive.unlink()
    return _git("log", "-1", "--format=%h %s", commit, root=root)


@dataclass
class Comparison:
    """Two sides, and what came of it."""

    base: Side
    head: Side
    patterns: tuple[str, ...] = ()
    most_seconds: float = 300.0
    progress: Any = None
    names: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    times: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both of them."""
        return self.base, self.head

    def _say(self, share: float, what: str) -> None:
        if self.progress:
            self.progress(share, what)

    def _matches(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in self.patterns)

    def choose(self) -> None:
        """Choose the workloads: those that match a pattern, or those of the gate.

        Both sides are timed with the benchmarks of head, as far as these run in base, and else each with its own.
        """
        greetings = []
        for side in self.sides:
            side.use(self.head.tree)
            with _processes(side) as (process,):
                greeting = process.greeting
            if (
                "error" in greeting
                and side is self.base
                and (side.tree / "bench" / "workloads.py").exists()
            ):
                self.notes["base"] = (
                    f"timed with its own benchmarks, as head's do not run in it: {greeting['error']}"
                )
                side.use(side.tree)
                with _processes(side) as (process,):
                    greeting = process.greeting
            if "error" in greeting:
                raise NoComparison(f"the benchmarks do not run in {side.name}: {greeting['error']}")
            if not Path(greeting["fastfit"]).resolve().is_relative_to(side.folder.resolve()):
                raise NoComparison(f"{side.name} runs {greeting['fastfit']}, which is not its own")
            greetings.append(greeting["workloads"])
        known_in_base, in_gate = greetings
        for name in in_gate:
            chosen = self._matches(name) if self.patterns else in_gate[name]
            if chosen and name in known_in_base:
                self.names.append(name)
            elif chosen:
                self.notes[name] = "new: base has no such workload"
        for name, gated in known_in_base.items():
            if name not in in_gate and (gated if not self.patterns else self._matches(name)):
                self.notes[name] = "gone: head has no such workload"
        for pattern in self.patterns:
            if not fnmatch.filter([*in_gate, *known_in_base], pattern):
                raise NoComparison(f"no workload matches {pattern}")
        if not self.names:
            raise NoComparison("there is no workload that both sides have")

    def prepare(self) -> bool:
        """Compile and check every workload on both sides; return whether those that run in base run in head."""
        whole = True
        with _processes(*self.sides) as processes, ThreadPoolExecutor(2) as pool:
            for done, name in enumerate(list(self.names)):
                self._say(done / len(self.names), f"compiling {name}")
                asked = functools.partial(Process.ask, do="prepare", name=name, check=True)
                in_base, in_head = (
                    answer.get("error", "") for answer in pool.map(asked, processes)
                )
                list(pool.map(functools.partial(Process.ask, do="drop"), processes))
                if in_head and in_base:
                    self.notes[name] = f"runs in neither ({in_head.splitlines()[0]})"
                elif in_head:
                    self.notes[name] = f"broken: {in_head.splitlines()[0]}"
                    whole = False
                elif in_base:
                    self.notes[name] = f"new: does not run in base ({in_base.splitlines()[0]})"
                if name in self.notes:
                    self.names.remove(name)
        if whole and not self.names:
            raise NoComparison("; ".join(f"{name}: {note}" for name, note in self.notes.items()))
        self.times = {name: ([], []) for name in self.names}
        return whole

    def measure(self) -> None:
        """Time pairs of processes until every spread is small enough, or the time is up."""
        start = time.perf_counter()
        pairs, spent = 0, dict.fromkeys(self.names, 0.0)
        waiting = list(self.names)
        while waiting and pairs < MOST_PAIRS:
            passed = time.perf_counter() - start
            if pairs >= FEWEST_PAIRS and passed * (1.0 + 1.0 / pairs) > self.most_seconds:
                break
            order = [0, 1] if pairs % 2 == 0 else [1, 0]
            with _processes(*(self.sides[k] for k in order)) as processes:
                for done, name in enumerate(waiting):
                    share = (pairs + done / len(waiting)) / max(FEWEST_PAIRS, pairs + 1)
                    self._say(share, f"pair {pairs + 1}: {name}")
                    began = time.perf_counter()
                    best = _in_turn(processes, name)
                    spent[name] += time.perf_counter() - began
                    for k, seconds in zip(order, best, strict=True):
                        self.times[name][k].append(seconds)
            pairs += 1
            if pairs >= FEWEST_PAIRS:
                wide = [
                    v.name for v in self.verdicts() if v.threshold > WANTED or v.state == "unclear"
                ]
                waiting = [n for n in waiting if n in wide and spent[n] < MOST_SECONDS]

    def verdicts(self) -> list[Verdict]:
        """Return what the times tell so far."""
        times = {name: self.times[name] for name in self.names}
        return [judge(name, base, head, len(times)) for name, (base, head) in times.items()]


@contextlib.contextmanager
def _processes(*sides: Side) -> Iterator[list[Process]]:
    """Start a process for each side, and end them."""
    with contextlib.ExitStack() as started:

        def start(side: Side) -> Process:
            process = Process(side)
            started.callback(process.close)
            process.greet()
            return process

        with ThreadPoolExecutor(len(sides)) as pool:
            processes = list(pool.map(start, sides))
        yield processes


def _in_turn(processes: list[Process], name: str) -> list[float]:
    """Return the shortest time of a workload in each process."""
    best = [math.inf] * len(processes)
    with ThreadPoolExecutor(len(processes)) as pool:
        prepared = list(
            pool.map(functools.partial(Process.must, do="prepare", name=name), processes)
        )
    for turn in range(1 if any(answer["is_long"] for answer in prepared) else TURNS):
        order = range(len(processes)) if turn % 2 == 0 else reversed(range(len(processes)))
        for k in order:
            best[k] = min(best[k], processes[k].must("time", seconds=SECONDS)["seconds"])
    for process in processes:
        process.must("drop")
    return best


def markdown(comparison: Comparison, verdicts: list[Verdict]) -> str:
    """Return the table, and what else there is to say."""
    order = ("slower", "unclear", "faster", "same")
    verdicts = sorted(verdicts, key=lambda v: (order.index(v.state), -v.ratio))
    lines = [
        f"Base: {comparison.base.revision}  ",
        f"Head: {comparison.head.revision}  ",
        f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "",
        "| workload | base | head / base | 99 % interval | threshold | confidence | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        state = f"**{v.state}**" if v.state in {"slower", "unclear"} else v.state
        threshold = f"{v.relative_threshold:.1%} and {1e6 * v.absolute_threshold:.3g} us"
        lines.append(
            f"| `{v.name}` | {1e6 * v.base_median:,.4g} us | {v.ratio:.3f} | {v.low:.3f} to {v.high:.3f} "
            f"| {threshold} | {_percent(v.confidence)} | {state} |"
        )
    lines += ["", *(f"- `{name}`: {note}" for name, note in comparison.notes.items())]
    slower = [v for v in verdicts if v.state == "slower"]
    broken = [name for name, note in comparison.notes.items() if note.startswith("broken")]
    lines += [f"- {v}" for v in slower]
    pairs = (
        f"{min(len(v.base) for v in verdicts)} to {max(len(v.base) for v in verdicts)} pairs"
        if verdicts
        else ""
    )
    result = f"{len(slower)} slower, {len(broken)} broken" if slower or broken else "not slower"
    unclear = sum(v.state == "unclear" for v in verdicts)
    result += f", {unclear} unclear for noise" if unclear else ""
    return "\n".join(
        [*lines, "", f"{result}: {len(verdicts)} workloads, {pairs} of processes each"]
    )


def run(
    base: Annotated[
        str | None,
        typer.Argument(help="Revision to compare with; by default, where this branch left main."),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Revision that may be slower; by default, the working tree.")
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", "-k", help="Workloads, such as 'loop/*', instead of the gate's."),
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="Add no pairs of processes after so many minutes.", min=0.0)
    ] = 5.0,
    shared_environment: Annotated[
        bool,
        typer.Option(
            "--shared-environment",
            help="Install nothing: both trees run beside the packages of this Python.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for compare.json and compare.md; by default .benchmarks."),
    ] = None,
) -> None:
    """Fail if this tree is slower than another revision."""
    output = output or ROOT / ".benchmarks"
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder, _bar() as progress:
            sides = []
            for name, revision in (("base", base or base_of(ROOT)), ("head", head)):
                side = Side(name, "", Path(folder) / name, in_place=shared_environment)
                side.revision = _export(revision, side.tree, ROOT)
                sides.append(side)
            comparison = Comparison(
                sides[0], sides[1], tuple(select or ()), 60.0 * minutes, progress
            )
            if not shared_environment:
                progress(0.0, "installing both")
                with ThreadPoolExecutor(2) as pool:
                    list(pool.map(Side.install, sides))
            comparison.choose()
            whole = comparison.prepare()
            comparison.measure()
            verdicts = comparison.verdicts()
    except NoComparison as error:
        typer.echo(f"compare: error: {error}", err=True)
        raise typer.Exit(2) from None
    table = markdown(comparison, verdicts)
    slower = [verdict.name for verdict in verdicts if verdict.state == "slower"]
    output.mkdir(parents=True, exist_ok=True)
    (output / "compare.md").write_text(table + "\n", encoding="utf-8")
    content = {
        "base": comparison.base.revision,
        "head": comparison.head.revision,
        "platform": platform.platform(),
        "seconds": time.perf_counter() - started,
        "slower": slower,
        "unclear": [verdict.name for verdict in verdicts if verdict.state == "unclear"],
        "notes": comparison.notes,
        "workloads": [asdict(verdict) for verdict in verdicts],
    }
    (output / "compare.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    typer.echo(table)
    if slower or not whole:
        raise typer.Exit(1)


@contextlib.contextmanager
def _bar() -> Iterator[Any]:
    """Show how far it is on a terminal, and nothing in a pipe."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda share, what: None
        return
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share, what: progress.update(task, completed=share, description=what)


if __name__ == "__main__":
    typer.run(run)
