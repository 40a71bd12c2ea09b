"""Runs stages one after the other: their commands, logs, times, counts, and the table at the end."""

import dataclasses
import os
import signal
import subprocess
import time
import traceback
from typing import Callable

from test_results import Counts, UnreadableResults

HEARTBEAT_SECONDS = 60
END_SECONDS = 10
TAIL_LINES = 60


class StageFailed(Exception):
    """A stage failed as a whole, not in a test case; the text says why."""


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    what: str
    action: Callable  # Takes a Shell, returns Counts; raises StageFailed.
    needs: tuple = ()  # Names of stages that must not have failed.


@dataclasses.dataclass
class Outcome:
    name: str
    seconds: float
    counts: Counts
    verdict: str


class Shell:
    """What a stage runs commands with: everything they print goes to the stage's log, and a line to the terminal every
    minute says that they are still running."""

    def __init__(self, root, log, limit_seconds):
        self.root = root
        self.log = log
        self._deadline = time.monotonic() + limit_seconds
        self._limit_seconds = limit_seconds

    def run(self, *command, env=None):
        """Returns (exit status, what was printed). A missing program and a passed time limit are StageFailed."""
        command = [str(part) for part in command]
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("a") as log:
            print("$", *command, file=log, flush=True)
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self.root,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise StageFailed(f"cannot run {command[0]}: {error.strerror}") from error
            status = self._wait(process)
        with self.log.open(errors="replace") as log:
            log.seek(begin)
            return status, log.read()

    def check(self, *command, env=None):
        """Like `run`, where any exit status but 0 is StageFailed. Returns what was printed."""
        status, output = self.run(*command, env=env)
        if status != 0:
            raise StageFailed(f"{' '.join(map(str, command))}: exit status {status}")
        return output

    def _wait(self, process):
        try:
            while True:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise StageFailed(f"not done after {self._limit_seconds} s: {process.args}")
                try:
                    return process.wait(min(HEARTBEAT_SECONDS, left))
                except subprocess.TimeoutExpired:
                    print(f"test:   still at it: {_last_line(self.log)}", flush=True)
        finally:
            if process.poll() is None:
                _end(process)


def _end(process):
    """Ends a process with what it started. Asked first: ninja and ctest give their children groups of their own, and
    only they can end them."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log):
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "nothing printed so far")


def run_stages(stages, root, logs, limit_seconds):
    """Runs all stages, also after one failed; a stage whose need failed counts as failed itself. Returns Outcomes."""
    logs.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for stage in stages:
        log = logs / f"{stage.name}.log"
        log.unlink(missing_ok=True)
        print(f"test: {stage.name}: {stage.what}", flush=True)
        started = time.monotonic()
        broken = {outcome.name for outcome in outcomes if outcome.verdict != "passed"} & set(stage.needs)
        if broken:
            counts = Counts(failed=1, failures=[f"not run, because {', '.join(sorted(broken))} failed"])
        else:
            counts = _run_stage(stage, Shell(root, log, limit_seconds))
        verdict = "FAILED" if counts.failed else "passed"
        outcome = Outcome(stage.name, time.monotonic() - started, counts, verdict)
        outcomes.append(outcome)
        _report(outcome, log)
    return outcomes


def _run_stage(stage, shell):
    try:
        return stage.action(shell)
    except (StageFailed, UnreadableResults) as error:
        return Counts(failed=1, failures=[str(error)])
    except Exception:  # A mistake in a stage's own code must not hide what the other stages found.
        return Counts(failed=1, failures=traceback.format_exc().splitlines())


def _report(outcome, log):
    print(f"test: {outcome.name}: {outcome.verdict} in {outcome.seconds:.0f} s", flush=True)
    if outcome.verdict == "passed":
        return
    for failure in outcome.counts.failures:
        print(f"test:   {failure}")
    if log.exists():
        lines = log.read_text(errors="replace").splitlines()
        print(f"test:   the end of {log}:", *("    " + line for line in lines[-TAIL_LINES:]), sep="\n", flush=True)


def print_table(outcomes):
    """The table of stages and the closing line. Returns the total."""
    total = sum((outcome.counts for outcome in outcomes), Counts())
    print(f"\n{'stage':<12}{'result':<9}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for outcome in outcomes:
        counts = outcome.counts
        print(
            f"{outcome.name:<12}{outcome.verdict:<9}{counts.passed:>8}{counts.failed:>8}{counts.skipped:>9}"
            f"{outcome.seconds:>9.0f}"
        )
    print(f"{'all':<12}{'':<9}{total.passed:>8}{total.failed:>8}{total.skipped:>9}", end="")
    print(f"{sum(outcome.seconds for outcome in outcomes):>9.0f}\n")
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return total
