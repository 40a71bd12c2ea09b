"""The stages of scripts/test: what each runs and how its test cases are counted."""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import sys

import test_results
from test_results import Counts
from test_runner import Outcome, Stage, StageFailed, print_table, run_stages

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("WEFT_CACHE") or pathlib.Path.home() / ".cache/weft")
BINARY = ROOT / "build/src/cli/weft"
LOGS = ROOT / "build/test-logs"
RESULTS = ROOT / "build/test-results"
# Far above what a stage takes on two cores from nothing: a hang ends as a failure.
STAGE_LIMIT_SECONDS = 1800
JOBS = str(os.cpu_count() or 2)

SIMULATION = "^weft_sim"
# Under sanitizers: everything up to the engine. The folders above it cost more compiling than they would tell, as
# their own threads and parsers are reached by the end-to-end tests and the fuzz targets.
NOT_SANITIZED = "^weft_(sim|server|bench|cli)"

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1",
}


def python_tests(folder, shell):
    status, output = shell.run(sys.executable, "-m", "unittest", "discover", "-s", ROOT / folder, "-p", "*_test.py")
    counts = test_results.unittest(output)
    if status != 0 and not counts.failed:
        raise StageFailed(f"unittest ended with status {status}")
    return counts


def tidy(shell):
    return python_tests("tests/tidy", shell) + python_tests("tests/scripts", shell)


def formatting(shell):
    shell.check(ROOT / "scripts/format", "--check")
    return Counts()


def build(shell):
    shell.check("cmake", "--preset", "release")
    shell.check("cmake", "--build", "build", "--parallel", JOBS)
    return Counts()


def run_ctest(shell, name, folder, selection, prefix=()):
    """Runs the tests of a built folder that `selection` (options of ctest) picks, and counts their cases."""
    results = RESULTS / name
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    command = ["ctest", "--test-dir", folder, "--parallel", JOBS, "--output-on-failure", "--no-tests=error"]
    command += ["--output-junit", results / "ctest.xml", *selection]
    env = {**SANITIZER_OPTIONS, "GTEST_OUTPUT": f"xml:{results}/cases/", "GTEST_COLOR": "no"}
    status, _ = shell.run(*prefix, *command, env=env)
    if not (results / "ctest.xml").exists():
        raise StageFailed(f"ctest ended with status {status} and no results: are there such tests?")
    counts = test_results.ctest(results / "ctest.xml", results / "cases")
    if status != 0 and not counts.failed:
        raise StageFailed(f"ctest ended with status {status}")
    return counts


def binary_of(test):
    """The target that a test of ctest runs: its label where it is one of several runs, else its name."""
    for entry in test["properties"]:
        if entry["name"] == "LABELS":
            return entry["value"][0]
    return test["name"]


def build_tests(shell, preset, leave_out):
    """Builds only the binaries of the preset's tests whose names do not match `leave_out`; several tests may share one."""
    shell.check("cmake", "--preset", preset)
    listed = shell.check("ctest", "--test-dir", f"build-{preset}", "--show-only=json-v1")
    tests = json.JSONDecoder().raw_decode(listed, listed.index("\n{") + 1)[0]["tests"]
    wanted = [test for test in tests if not re.search(leave_out, test["name"])]
    targets = sorted({binary_of(test) for test in wanted})
    if not targets:
        raise StageFailed(f"the preset {preset} has no tests to build")
    shell.check("cmake", "--build", f"build-{preset}", "--parallel", JOBS, "--target", *targets)


def unit(shell):
    return run_ctest(shell, "unit", "build", ["--exclude-regex", SIMULATION])


def simulation(shell):
    return run_ctest(shell, "simulation", "build", ["--tests-regex", SIMULATION])


def end_to_end(shell):
    if not BINARY.exists():
        raise StageFailed(f"the build left no {BINARY}")
    results = RESULTS / "e2e.xml"
    RESULTS.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    pytest = [CACHE / "venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", "--color=no", f"--junitxml={results}"]
    status, _ = shell.run(*pytest, "tests/e2e", env={"WEFT_BINARY": str(BINARY), "WEFT_CACHE": str(CACHE)})
    counts = test_results.junit(results)
    if status != 0 and not counts.failed:
        raise StageFailed(f"pytest ended with status {status}")
    return counts


def address_sanitizer(shell):
    build_tests(shell, "asan", NOT_SANITIZED)
    return run_ctest(shell, "asan", "build-asan", ["--exclude-regex", NOT_SANITIZED])


def thread_sanitizer(shell):
    build_tests(shell, "tsan", NOT_SANITIZED)
    # GCC 12's runtime cannot map its shadow where the kernel randomises addresses by more than 28 bits.
    fixed_addresses = ["setarch", "--addr-no-randomize"]
    prefix = fixed_addresses if shell.run(*fixed_addresses, "true")[0] == 0 else []
    return run_ctest(shell, "tsan", "build-tsan", ["--exclude-regex", NOT_SANITIZED], prefix)


def fuzz(shell):
    build_tests(shell, "fuzz", "^$")
    return run_ctest(shell, "fuzz", "build-fuzz", [])


STAGES = [
    Stage("format", "every C++ file is formatted", formatting),
    Stage("tidy", "the rules of tests/tidy, and the scripts' own tests", tidy),
    Stage("build", "release build with all tests", build),
    Stage("unit", "unit tests, release", unit, ("build",)),
    Stage("simulation", "the engine in simulated time", simulation, ("build",)),
    Stage("e2e", "the built binary with real clients", end_to_end, ("build",)),
    Stage("asan", "unit and engine tests, address and undefined sanitizers", address_sanitizer),
    Stage("tsan", "unit and engine tests, thread sanitizer", thread_sanitizer),
    Stage("fuzz", "every fuzz target on its corpus, a few seconds each", fuzz),
]
QUICK = {"tidy", "build", "unit"}


def chosen_stages(quick, names):
    """The stages to run, in order, with what they need."""
    if not quick and not names:
        return STAGES
    wanted = (QUICK if quick else set()) | set(names)
    wanted |= {need for stage in STAGES if stage.name in wanted for need in stage.needs}
    return [stage for stage in STAGES if stage.name in wanted]


def main():
    parser = argparse.ArgumentParser(prog="scripts/test")
    parser.add_argument("--quick", action="store_true", help="tidiness and the release build's unit tests")
    parser.add_argument("--stage", action="append", default=[], choices=[stage.name for stage in STAGES])
    parser.add_argument("--setup-seconds", type=float, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ended from outside, end what was started.
    outcomes = [Outcome("setup", arguments.setup_seconds, Counts(), "passed")]
    outcomes += run_stages(chosen_stages(arguments.quick, arguments.stage), ROOT, LOGS, STAGE_LIMIT_SECONDS)
    return 1 if print_table(outcomes).failed else 0


if __name__ == "__main__":
    sys.exit(main())
