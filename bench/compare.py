"""The gate: is this tree slower than another revision? ``python bench/compare.py [BASE]``.

- Base and head are installed in separate environments. No times are stored, so any machine will do.
- Two processes, one of each side, take turns (A B B A ...): one waits while the other is timed.
- The shortest time of a process counts. Over all pairs of processes, the median of head / base does (``judge.py``).
- Pairs are added until the result is precise enough, or the time is up.

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

import numpy as np
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # as a script, Python looks for modules in bench/ alone
    sys.path.insert(0, str(ROOT))

from bench.judge import FEWEST_PAIRS, Verdict, judge, percent  # noqa: E402

# Most pairs of processes per workload, and seconds after which a workload gets no more.
MOST_PAIRS, MOST_SECONDS = 31, 30.0
# In each pair of processes: turns of each side, and seconds per turn.
TURNS, SECONDS = 3, 0.02
# Seconds after which a process that does not answer is ended.
LONGEST = 300.0


class NoComparison(Exception):  # noqa: N818  # it is not an error of the code that is compared
    """There is nothing to compare, or no way to do it."""


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoComparison(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _branch_point() -> str:
    """Return the revision where this branch left main."""
    for main in ("origin/main", "main"):
        with contextlib.suppress(NoComparison):
            return _run("git", "merge-base", "HEAD", main)
    raise NoComparison("there is no branch main to compare with; name a revision")


@dataclass
class Side:
    """Base or head: a revision, where it is installed, and the benchmarks it is timed with."""

    name: str
    folder: Path
    in_place: bool
    revision: str = ""
    python: str = sys.executable

    def __post_init__(self) -> None:
        self.tree = self.folder / "tree"  # the files of the revision

    def export(self, revision: str | None) -> None:
        """Write the files of a revision, or of the working tree, to ``tree``."""
        self.tree.mkdir(parents=True)
        if revision is None:
            self.revision = "the working tree"
            files = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
            for name in files.split("\0"):
                if (ROOT / name).is_file():
                    (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, self.tree / name)
        else:
            archive = str(self.folder / "tree.tar")
            _run("git", "archive", "--output", archive, revision)
            shutil.unpack_archive(archive, self.tree, filter="data")
            self.revision = _run("git", "log", "-1", "--format=%h %s", revision)

    def install(self) -> None:
        """Install the tree in a new environment, with the extras that its drop-ins replace."""
        env = self.folder / "env"
        self.python = str(env / ("Scripts" if os.name == "nt" else "bin") / "python")
        _run(sys.executable, "-m", "venv", str(env))
        _run(self.python, "-m", "pip", "install", "--quiet", f"{self.tree}[sklearn,stats]")

    def use(self, tree: Path) -> None:
        """Take the benchmarks of a tree, with this gate's worker."""
        suite = self.folder / "suite"
        shutil.rmtree(suite, ignore_errors=True)
        shutil.copytree(tree / "bench", suite / "bench")
        shutil.copy(Path(__file__).with_name("worker.py"), suite / "bench")


class Process(subprocess.Popen[str]):
    """A worker of one side; see ``worker.py`` for its commands."""

    def __init__(self, side: Side) -> None:
        self.name = side.name
        paths = [side.folder / "suite", *([side.tree] if side.in_place else [])]
        variables = {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONHASHSEED": "0",
            "NUMBA_CACHE_DIR": str(side.folder / "cache"),
        }
        super().__init__(
            [side.python, "-P", "-m", "bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | variables,
            cwd=side.folder,
        )

    def answer(self) -> Any:
        """Wait for an answer; it has the key ``error`` if something failed."""
        assert self.stdout is not None
        timer = threading.Timer(LONGEST, self.kill)
        timer.daemon = True
        timer.start()
        line = self.stdout.readline()
        timer.cancel()
        if not line:
            return {"error": f"the process ended with exit code {self.wait()}"}
        return json.loads(line)


@contextlib.contextmanager
def started(*sides: Side) -> Iterator[tuple[list[Process], list[dict[str, Any]]]]:
    """Start one process per side; yield the processes and their first answers, and end them."""
    processes = [Process(side) for side in sides]
    try:
        yield processes, [process.answer() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ask(processes: list[Process], do: str, *, must: bool = False, **arguments: Any) -> list[Any]:
    """Send a command to all processes and return their answers; with ``must``, an error ends the comparison."""
    for process in processes:
        with contextlib.suppress(BrokenPipeError):  # the missing answer reports it
            print(json.dumps({"do": do, **arguments}), file=process.stdin, flush=True)
    answers = [process.answer() for process in processes]
    for process, answer in zip(processes, answers, strict=True):
        if must and "error" in answer:
            place = f"{process.name} failed while it was timed, at {arguments.get('name', do)}"
            raise NoComparison(f"{place}: {answer['error']}")
    return answers


def _shortest_times(processes: list[Process], name: str) -> list[float]:
    """Return the shortest time of a workload in each process, in seconds; the processes take turns."""
    are_long = [answer["is_long"] for answer in ask(processes, "prepare", must=True, name=name)]
    best = [math.inf] * len(processes)
    for turn in range(1 if any(are_long) else TURNS):
        for k in range(len(processes))[:: 1 if turn % 2 == 0 else -1]:
            (answer,) = ask([processes[k]], "time", must=True, seconds=SECONDS)
            best[k] = min(best[k], answer["seconds"])
    ask(processes, "drop", must=True)
    return best


@dataclass
class Comparison:
    """Both sides, the times of each workload (base and head of each pair, in seconds), and notes by name."""

    base: Side
    head: Side
    say: Callable[[str], None]
    times: dict[str, list[list[float]]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def _workloads_of(self, side: Side) -> Any:
        """Return the names of the workloads, and whether each belongs to the gate.

        Both sides are timed with the benchmarks of head. If these do not run in base, base is timed with its own.
        """
        found: dict[str, Any] = {"error": "it has none"}
        for tree in dict.fromkeys((self.head.tree, side.tree)):
            if "error" in found and (tree / "bench" / "workloads.py").exists():
                side.use(tree)
                with started(side) as (_, answers):
                    found = answers[0]
                if "error" in found:
                    why = f"head's do not run in it: {found['error']}"
                    self.notes["base"] = f"timed with its own benchmarks, as {why}"
        if "error" in found:
            raise NoComparison(f"the benchmarks do not run in {side.name}: {found['error']}")
        if not Path(found["fastfit"]).resolve().is_relative_to(side.folder.resolve()):
            raise NoComparison(f"{side.name} runs {found['fastfit']}, which is not its own")
        return found["workloads"]

    def select(self, patterns: list[str]) -> None:
        """Select the workloads that match a pattern; without patterns, all that the gate times."""
        in_base, in_head = self._workloads_of(self.base), self._workloads_of(self.head)
        gate = in_base | in_head
        selected = {name for name, in_gate in gate.items() if in_gate and not patterns}
        for pattern in patterns:
            matching = fnmatch.filter(gate, pattern)
            if not matching:
                raise NoComparison(f"no workload matches {pattern}")
            selected.update(matching)
        for name in filter(selected.__contains__, gate):
            if name not in in_base:
                self.notes[name] = "new: base has no such workload"
            elif name not in in_head:
                self.notes[name] = "gone: head has no such workload"
            else:
                self.times[name] = []
        if not self.times:
            raise NoComparison("there is no workload that both sides have")

    def check(self) -> None:
        """Compile and check every workload on both sides; drop those that fail, with a note."""
        with started(self.base, self.head) as (processes, _):
            for name in list(self.times):
                self.say(f"compiling {name}")
                answers = ask(processes, "prepare", name=name, check=True)
                ask(processes, "drop")
                in_base, in_head = (a.get("error", "").partition("\n")[0] for a in answers)
                if in_head:
                    note = f"runs in neither ({in_head})" if in_base else f"broken: {in_head}"
                elif in_base:
                    note = f"new: does not run in base ({in_base})"
                else:
                    continue
                self.notes[name] = note
                del self.times[name]
        if not self.times and not self.broken:
            raise NoComparison("; ".join(f"{name}: {note}" for name, note in self.notes.items()))

    def measure(self, most_seconds: float) -> None:
        """Time pairs of processes until every workload is known precisely enough, or the time is up."""
        start = time.perf_counter()
        spent = dict.fromkeys(self.times, 0.0)
        waiting = list(self.times)
        for pairs in range(MOST_PAIRS):
            if pairs >= FEWEST_PAIRS:
                precise = {verdict.name for verdict in self.verdicts() if verdict.is_precise}
                waiting = [n for n in waiting if n not in precise and spent[n] < MOST_SECONDS]
                if (time.perf_counter() - start) * (1.0 + 1.0 / pairs) > most_seconds:
                    break
            if not waiting:
                break
            forward = 1 if pairs % 2 == 0 else -1
            with started(*(self.base, self.head)[::forward]) as (processes, _):
                for name in waiting:
                    self.say(f"pair {pairs + 1} of {FEWEST_PAIRS} or more: {name}")
                    began = time.perf_counter()
                    self.times[name].append(_shortest_times(processes, name)[::forward])
                    spent[name] += time.perf_counter() - began

    def verdicts(self) -> list[Verdict]:
        """Judge the times measured so far."""
        n = len(self.times)
        times = {name: np.transpose(pairs) for name, pairs in self.times.items()}
        return [judge(name, base, head, n) for name, (base, head) in times.items()]

    @property
    def broken(self) -> list[str]:
        """The workloads that run in base and fail in head."""
        return [name for name, note in self.notes.items() if note.startswith("broken")]


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
    failed = slower or comparison.broken
    result = f"{len(slower)} slower, {len(comparison.broken)} broken" if failed else "not slower"
    unclear = sum(v.state == "unclear" for v in verdicts)
    result += f", {unclear} unclear because of noise" if unclear else ""
    pairs = [len(v.base) for v in verdicts] or [0]
    result += f": {len(verdicts)} workloads, {min(pairs)} to {max(pairs)} pairs of processes each"
    notes = [f"- `{name}`: {note}" for name, note in comparison.notes.items()]
    return "\n".join([*lines, "", *notes, *slower, "", result])


def main(arguments: list[str] | None = None) -> int:
    """Compare, print and save the result, and return the exit code."""
    parser = argparse.ArgumentParser(description="Fail if this tree is slower than another one.")
    add = parser.add_argument
    add("base", nargs="?", help="revision to compare with; by default, where this branch left main")
    add("--head", help="revision that may be slower; by default, the working tree")
    patterns = "time the workloads that match, such as 'loop/*', instead of the gate's"
    add("-k", "--select", action="append", default=[], metavar="PATTERN", help=patterns)
    add("--minutes", type=float, default=5.0, help="after this, add no pairs of processes")
    shared = "install nothing: use the packages of this Python"
    add("--shared-environment", action="store_true", help=shared)
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with tempfile.TemporaryDirectory() as folder, console.status("installing both") as status:
            sides = base, head = [
                Side(name, Path(folder) / name, options.shared_environment)
                for name in ("base", "head")
            ]
            base.export(options.base or _branch_point())
            head.export(options.head)
            if not options.shared_environment:
                with ThreadPoolExecutor(2) as pool:
                    list(pool.map(Side.install, sides))
            comparison = Comparison(base, head, status.update)
            comparison.select(options.select)
            comparison.check()
            comparison.measure(60.0 * options.minutes)
            verdicts = comparison.verdicts()
    except NoComparison as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    table = markdown(comparison, verdicts)
    content = {
        "base": base.revision,
        "head": head.revision,
        "platform": platform.platform(),
        "slower": [v.name for v in verdicts if v.state == "slower"],
        "notes": comparison.notes,
        "workloads": [asdict(verdict) for verdict in verdicts],
    }
    output = ROOT / ".benchmarks"
    output.mkdir(exist_ok=True)
    (output / "compare.md").write_text(table + "\n", encoding="utf-8")
    (output / "compare.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    print(table)
    return int(bool(content["slower"] or comparison.broken))


if __name__ == "__main__":
    sys.exit(main())
