"""The gate: is this tree slower than another revision? ``python bench/compare.py [BASE]``.

- Base and head are installed in environments of their own; nothing is stored, so this runs on any machine.
- A process of each side runs at the same time, one waiting while the other is timed, in turn (A B B A ...).
- Within a process the shortest time counts; across pairs of processes, the median of head / base (see ``judge.py``).
- Pairs of processes are added until the result is precise enough, or the time is up.

Exit code 0: not slower; 1: slower, or broken; 2: no comparison was possible.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # as a script, Python looks for modules in bench/ alone
    sys.path.insert(0, str(ROOT))

from bench.judge import FEWEST_PAIRS, Verdict, judge, percent  # noqa: E402

MOST_PAIRS = 31
# Seconds after which a workload gets no more pairs.
MOST_SECONDS = 30.0
# In each pair of processes, turns per side, and seconds per turn.
TURNS, SECONDS = 3, 0.02
# Seconds after which a process that does not answer is ended.
LONGEST = 300.0


class NoComparison(Exception):  # noqa: N818  # it is not an error of the code that is compared
    """There is nothing to compare, or no way to do it."""


@dataclass
class Side:
    """One of the two trees that are compared, where it is installed, and the benchmarks it is timed with."""

    name: str
    folder: Path
    in_place: bool
    revision: str = ""
    python: Path = Path(sys.executable)

    @property
    def tree(self) -> Path:
        """The files of the revision."""
        return self.folder / "tree"

    def use(self, suite: Path) -> None:
        """Take the benchmarks of a tree, with this gate's worker."""
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
        """Install this tree, and all that its benchmarks need, in a new environment."""
        folder = self.folder / "env"
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        # The extras are what the drop-ins replace.
        pip = [str(self.python), "-m", "pip", "install", "--quiet", f"{self.tree}[sklearn,stats]"]
        for command in ([sys.executable, "-m", "venv", str(folder)], pip):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoComparison(f"{self.name} can't be installed:\n{done.stderr.strip()}")


class Process:
    """A worker of one side; see ``worker.py`` for its commands."""

    def __init__(self, side: Side) -> None:
        self.name = side.name
        self._process = subprocess.Popen(
            [str(side.python), "-P", "-m", "bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=side.environment(),
            cwd=side.folder,
        )

    def send(self, do: str, **arguments: Any) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the missing answer reports it
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for an answer; it has the key ``error`` if something failed."""
        assert self._process.stdout is not None
        hung = threading.Timer(LONGEST, self._process.kill)
        hung.start()
        try:
            line = self._process.stdout.readline()
        finally:
            hung.cancel()
        if not line:
            return {"error": f"the process ended with exit code {self._process.wait()}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def started(*sides: Side) -> Iterator[tuple[list[Process], list[dict[str, Any]]]]:
    """Start a process for each side at the same time; yield them and their greetings, and end them."""
    with contextlib.ExitStack() as stack:
        processes = [Process(side) for side in sides]
        for process in processes:
            stack.callback(process.close)
        yield processes, [process.answer() for process in processes]


def ask(
    processes: list[Process], do: str, *, must: bool = False, **arguments: Any
) -> list[dict[str, Any]]:
    """Send a command to all processes and return their answers; with ``must``, an error ends the comparison."""
    for process in processes:
        process.send(do, **arguments)
    answers = [process.answer() for process in processes]
    for process, answer in zip(processes, answers, strict=True):
        if must and "error" in answer:
            at = f"{process.name} failed while it was timed, at {arguments.get('name', do)}"
            raise NoComparison(f"{at}: {answer['error']}")
    return answers


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoComparison(f"git {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _branch_point() -> str:
    """Return the revision where this branch left main."""
    for main in ("origin/main", "main"):
        with contextlib.suppress(NoComparison):
            return _git("merge-base", "HEAD", main)
    raise NoComparison("there is no branch main to compare with; name a revision")


def _export(revision: str | None, into: Path) -> str:
    """Write the files of a revision, or of the working tree, to a folder; return a description of the revision."""
    into.mkdir(parents=True)
    if revision is None:
        names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, into / name)
        return "the working tree"
    archive = into.with_suffix(".tar")
    _git("archive", "--output", str(archive), revision)
    shutil.unpack_archive(archive, into, filter="data")
    archive.unlink()
    return _git("log", "-1", "--format=%h %s", revision)


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


@dataclass
class Comparison:
    """Two sides, the workloads that both have, and their times in seconds."""

    base: Side
    head: Side
    patterns: list[str]
    most_seconds: float
    say: Callable[[float, str], None]
    names: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    times: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    def choose(self) -> None:
        """Choose the workloads: those that match a pattern, or else those of the gate."""
        in_base, in_head = self._workloads_of(self.base), self._workloads_of(self.head)
        for pattern in self.patterns:
            if not fnmatch.filter([*in_head, *in_base], pattern):
                raise NoComparison(f"no workload matches {pattern}")
        for name, in_gate in {**in_base, **in_head}.items():
            if not (_matches(name, self.patterns) if self.patterns else in_gate):
                continue
            if name not in in_base:
                self.notes[name] = "new: base has no such workload"
            elif name not in in_head:
                self.notes[name] = "gone: head has no such workload"
            else:
                self.names.append(name)
        if not self.names:
            raise NoComparison("there is no workload that both sides have")

    def _workloads_of(self, side: Side) -> dict[str, bool]:
        """Return whether a workload is of the gate, by name.

        Both sides are timed with the benchmarks of head. If these do not run in base, base is timed with its own.
        """
        for suite in (self.head.tree, side.tree):
            side.use(suite)
            with started(side) as (_, (greeting,)):
                pass
            if "error" not in greeting:
                break
            if side is self.head or not (side.tree / "bench" / "workloads.py").exists():
                raise NoComparison(f"the benchmarks do not run in {side.name}: {greeting['error']}")
            why = f"head's do not run in it: {greeting['error']}"
            self.notes["base"] = f"timed with its own benchmarks, as {why}"
        else:
            raise NoComparison(f"no benchmarks run in {side.name}: {greeting['error']}")
        if not Path(greeting["fastfit"]).resolve().is_relative_to(side.folder.resolve()):
            raise NoComparison(f"{side.name} runs {greeting['fastfit']}, which is not its own")
        workloads: dict[str, bool] = greeting["workloads"]
        return workloads

    def prepare(self) -> bool:
        """Compile and check every workload on both sides; return False if one that runs in base fails in head."""
        whole = True
        with started(self.base, self.head) as (processes, _):
            for done, name in enumerate(list(self.names)):
                self.say(done / len(self.names), f"compiling {name}")
                answers = ask(processes, "prepare", name=name, check=True)
                in_base, in_head = (answer.get("error", "") for answer in answers)
                ask(processes, "drop")
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
        """Time pairs of processes until every workload is known well enough, or the time is up."""
        start = time.perf_counter()
        spent = dict.fromkeys(self.names, 0.0)
        waiting = list(self.names)
        for pairs in range(MOST_PAIRS):
            passed = time.perf_counter() - start
            if pairs >= FEWEST_PAIRS:
                if passed * (1.0 + 1.0 / pairs) > self.most_seconds:
                    break
                found = {v.name: v for v in self.verdicts()}
                waiting = [
                    n for n in waiting if not found[n].is_precise and spent[n] < MOST_SECONDS
                ]
            if not waiting:
                break
            forward = 1 if pairs % 2 == 0 else -1
            with started(*(self.base, self.head)[::forward]) as (processes, _):
                for done, name in enumerate(waiting):
                    share = (pairs + done / len(waiting)) / max(FEWEST_PAIRS, pairs + 1)
                    self.say(share, f"pair {pairs + 1}: {name}")
                    began = time.perf_counter()
                    best = _shortest_times(processes, name)[::forward]
                    spent[name] += time.perf_counter() - began
                    for times, seconds in zip(self.times[name], best, strict=True):
                        times.append(seconds)

    def verdicts(self) -> list[Verdict]:
        """Judge the times measured so far."""
        n = len(self.times)
        return [judge(name, base, head, n) for name, (base, head) in self.times.items()]


def _shortest_times(processes: list[Process], name: str) -> list[float]:
    """Return the shortest time of a workload in each process, the processes taking turns."""
    are_long = [answer["is_long"] for answer in ask(processes, "prepare", must=True, name=name)]
    best = [math.inf] * len(processes)
    for turn in range(1 if any(are_long) else TURNS):
        for k in range(len(processes))[:: 1 if turn % 2 == 0 else -1]:
            (answer,) = ask([processes[k]], "time", must=True, seconds=SECONDS)
            best[k] = min(best[k], answer["seconds"])
    ask(processes, "drop", must=True)
    return best


def markdown(comparison: Comparison, verdicts: list[Verdict]) -> str:
    """Return the table of verdicts, the notes, and the result in one line."""
    order = ("slower", "unclear", "faster", "same")
    lines = [
        f"Base: {comparison.base.revision}  ",
        f"Head: {comparison.head.revision}  ",
        f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "",
        "| workload | base | head / base | 99 % interval | threshold | confidence | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for v in sorted(verdicts, key=lambda v: (order.index(v.state), -v.ratio)):
        state = f"**{v.state}**" if v.state in {"slower", "unclear"} else v.state
        threshold = f"{v.relative_threshold:.1%} and {1e6 * v.absolute_threshold:.3g} us"
        lines.append(
            f"| `{v.name}` | {1e6 * v.base_median:,.4g} us | {v.ratio:.3f} | {v.low:.3f} to {v.high:.3f} "
            f"| {threshold} | {percent(v.confidence)} | {state} |"
        )
    slower = [f"- {v}" for v in verdicts if v.state == "slower"]
    broken = sum(note.startswith("broken") for note in comparison.notes.values())
    unclear = sum(v.state == "unclear" for v in verdicts)
    pairs = [len(v.base) for v in verdicts] or [0]
    lines += ["", *(f"- `{name}`: {note}" for name, note in comparison.notes.items()), *slower, ""]
    lines.append(
        (f"{len(slower)} slower, {broken} broken" if slower or broken else "not slower")
        + (f", {unclear} unclear because of noise" if unclear else "")
        + f": {len(verdicts)} workloads, {min(pairs)} to {max(pairs)} pairs of processes each"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Compare, print and save the result, and return the exit code."""
    parser = argparse.ArgumentParser(description="Fail if this tree is slower than another one.")
    add = parser.add_argument
    add("base", nargs="?", help="revision to compare with; by default, where this branch left main")
    add("--head", help="revision that may be slower; by default, the working tree")
    patterns = "workloads, such as 'loop/*', instead of the gate's"
    add("-k", "--select", action="append", default=[], help=patterns)
    add("--minutes", type=float, default=5.0, help="after this, add no pairs of processes")
    shared = "install nothing: use the packages of this Python"
    add("--shared-environment", action="store_true", help=shared)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    console = Console(stderr=True)
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("installing both", total=1.0)
    try:
        with tempfile.TemporaryDirectory() as folder, bar:
            base, head = (
                Side(name, Path(folder) / name, options.shared_environment)
                for name in ("base", "head")
            )
            base.revision = _export(options.base or _branch_point(), base.tree)
            head.revision = _export(options.head, head.tree)
            if not options.shared_environment:
                with ThreadPoolExecutor(2) as pool:
                    list(pool.map(Side.install, (base, head)))
            say = lambda share, what: bar.update(task, completed=share, description=what)  # noqa: E731
            comparison = Comparison(base, head, options.select, 60.0 * options.minutes, say)
            comparison.choose()
            whole = comparison.prepare()
            comparison.measure()
            verdicts = comparison.verdicts()
    except NoComparison as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    table = markdown(comparison, verdicts)
    content = {
        "base": comparison.base.revision,
        "head": comparison.head.revision,
        "platform": platform.platform(),
        "seconds": time.perf_counter() - began,
        "slower": [v.name for v in verdicts if v.state == "slower"],
        "unclear": [v.name for v in verdicts if v.state == "unclear"],
        "notes": comparison.notes,
        "workloads": [asdict(verdict) for verdict in verdicts],
    }
    output = ROOT / ".benchmarks"
    output.mkdir(exist_ok=True)
    (output / "compare.md").write_text(table + "\n", encoding="utf-8")
    (output / "compare.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    print(table)
    return int(bool(content["slower"]) or not whole)


if __name__ == "__main__":
    sys.exit(main())
