"""Runs the test programs of a bundle on the GPU, on their own or under compute-sanitizer.

They are in the bundle after `cmake --install build-cuda --component tests --prefix BUNDLE`. Their data are this
checkout's. For racecheck they must be built with -DWEFT_RACECHECK=ON.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

# Everything that computes, copies or allocates on a device.
PROGRAMS = ["weft_device_test", "weft_cuda_device_test", "weft_adapter_test", "weft_cuda_ops_test", "weft_model_test",
            "weft_engine_test"]
SANITIZED = ["weft_cuda_ops_test", "weft_model_test"]  # That have kernels of their own.
SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 1800
# What ends its device on purpose is no finding of a sanitizer's; under racecheck kernels run one at a time.
NOT_SANITIZED = {"memcheck": "-LostDevice*", "racecheck": "-LostDevice*:StepsAtOnceTest*"}
# racecheck knows no pipeline of copies and matrix units: it reports cuBLASLt's, which are not ours to mend, and ours
# unless they are built for it.
OTHERS_KERNELS = ("nvjet", "cutlass")


class NotInstalled(Exception):
    pass


def run(bundle, sanitizer=None, shards=1):
    """A summary of each program: {"program", "passed", "skipped", "failed": [names], "seconds", "findings": {kernel:
    count}, "others_findings": count}. A program that did not end well without naming a test has failed as itself."""
    programs = SANITIZED if sanitizer else PROGRAMS
    if sanitizer and shutil.which("compute-sanitizer") is None:
        raise NotInstalled("compute-sanitizer is not on the path; it comes with CUDA's toolkit")
    for program in programs:
        if not (bundle / "bin" / program).exists():
            raise NotInstalled(f"{bundle / 'bin' / program} is not there: cmake --install build-cuda --component tests "
                               f"--prefix {bundle}")
    return [run_program(bundle / "bin" / program, sanitizer, shards) for program in programs]


def new_summary(program, sanitizer):
    return {"program": program, "sanitizer": sanitizer, "passed": 0, "skipped": 0, "failed": [], "findings": {},
            "others_findings": 0}


def run_program(path, sanitizer, shards):
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(shards) as threads:
        runs = list(threads.map(lambda shard: run_shard(path, sanitizer, shard, shards), range(shards)))
    summary = new_summary(path.name, sanitizer)
    for status, output in runs:
        add(summary, status, output)
    summary["seconds"] = round(time.monotonic() - begin, 1)
    return summary


def run_shard(path, sanitizer, shard, shards):
    """The exit status and all output; the status is None when the time was up."""
    environment = {**os.environ, "WEFT_TEST_DEVICE": "cuda", "WEFT_SOURCE_DIR": str(SOURCE)}
    command = [str(path)]
    if shards > 1:
        environment |= {"GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(shard)}
    if sanitizer:
        command = ["compute-sanitizer", "--tool", sanitizer, "--print-limit", "0", *command,
                   f"--gtest_filter={NOT_SANITIZED[sanitizer]}"]
    # A session of its own, so that nothing of it is left on the GPU when the time is up.
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT_S)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]


def add(summary, status, output):
    """Adds what one process printed."""
    how = "out of time" if status is None else f"exit status {status}"
    passed = re.findall(r"\[       OK \] (\S+) \(", output)
    skipped = re.findall(r"\[  SKIPPED \] (\S+) \(", output)
    failed = set(re.findall(r"\[  FAILED  \] ([^\s,]+)(?:, where .*)? \(\d+ ms\)", output))
    begun = re.findall(r"\[ RUN      \] (\S+)", output)
    failed |= {f"{test} ({how})" for test in begun if test not in {*passed, *skipped, *failed}}
    add_findings(summary, output)
    if summary["sanitizer"] and not re.search(r"^=+ (?:ERROR|RACECHECK) SUMMARY:", output, re.MULTILINE):
        failed.add(f"{summary['program']} ({how}): no summary of {summary['sanitizer']}'s")
    if (status != 0 or not begun) and not failed:
        failed.add(f"{summary['program']} ({how if begun else 'no test ran'})")
    summary["passed"] += len(passed)
    summary["skipped"] += len(skipped)
    summary["failed"] += sorted(failed)


def add_findings(summary, output):
    """By kernel, others' apart; what no pattern here knows counts as ours."""
    races = re.findall(r"^=+ +(?:Error|Warning): Race reported .* at (?:void )?(.+?)\+0x", output, re.MULTILINE)
    accesses = re.findall(r"^=+ +Invalid .*\n=+ +at (?:void )?(.+?)\+0x", output, re.MULTILINE)
    reported = sum(map(int, re.findall(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+)", output, re.MULTILINE)))
    unknown = max(reported - len(races) - len(accesses), len(re.findall("Internal Sanitizer Error", output)), 0)
    for kernel, count in collections.Counter([*races, *accesses, *["unknown"] * unknown]).items():
        if kernel.startswith(OTHERS_KERNELS):
            summary["others_findings"] += count
        else:
            summary["findings"][kernel] = summary["findings"].get(kernel, 0) + count


def describe(summary):
    """One line for people."""
    under = f" under {summary['sanitizer']}" if summary["sanitizer"] else ""
    line = (f"{summary['program']}{under}: {summary['passed']} passed, {summary['skipped']} skipped, "
            f"{len(summary['failed'])} failed, {summary['seconds']} s")
    if summary["sanitizer"]:
        line += f", {sum(summary['findings'].values())} findings in our kernels, {summary['others_findings']} in others'"
    return line


def failures(summary):
    """What must not be, a line each."""
    return [f"{summary['program']}: failed: {name}" for name in summary["failed"]] + [
        f"{summary['program']}: {summary['sanitizer']} found {count} in {kernel}"
        for kernel, count in summary["findings"].items()]
