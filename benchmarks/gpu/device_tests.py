"""Runs the test programs of a bundle on the GPU, on their own or under compute-sanitizer.

They are in the bundle after `cmake --install build-cuda --component tests --prefix BUNDLE`. Their data are this
checkout's. For racecheck they must be built with -DWEFT_RACECHECK=ON.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import time

# Everything that computes, copies or allocates on a device.
PROGRAMS = ["weft_device_test", "weft_cuda_device_test", "weft_adapter_test", "weft_cuda_ops_test", "weft_model_test",
            "weft_engine_test"]
SANITIZED = ["weft_cuda_ops_test", "weft_model_test"]  # That have kernels of their own.
SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 1800
# What ends its device on purpose is no finding of a sanitizer's.
NOT_SANITIZED = "-LostDevice*"
# racecheck knows no pipeline of copies and matrix units: it reports cuBLASLt's, which are not ours to mend, and ours
# unless they are built for it.
OTHERS_KERNELS = ("nvjet", "cutlass")


class NotInstalled(Exception):
    pass


def run(bundle, sanitizer=None, shards=1):
    """A summary of each program: {"program", "passed", "skipped", "failed": [names], "seconds", "findings": {kernel:
    count}, "others_findings": count}. A program that did not end well without naming a test has failed as itself."""
    programs = SANITIZED if sanitizer else PROGRAMS
    for program in programs:
        if not (bundle / "bin" / program).exists():
            raise NotInstalled(f"{bundle / 'bin' / program} is not there: cmake --install build-cuda --component tests "
                               f"--prefix {bundle}")
    return [run_program(bundle / "bin" / program, sanitizer, shards) for program in programs]


def run_program(path, sanitizer, shards):
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(shards) as threads:
        runs = list(threads.map(lambda shard: run_shard(path, sanitizer, shard, shards), range(shards)))
    summary = {"program": path.name, "sanitizer": sanitizer, "passed": 0, "skipped": 0, "failed": [], "findings": {},
               "others_findings": 0}
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
        command = ["compute-sanitizer", "--tool", sanitizer, *command, f"--gtest_filter={NOT_SANITIZED}"]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=LIMIT_S)
    except subprocess.TimeoutExpired as expired:
        return None, (expired.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout


def add(summary, status, output):
    """Adds what one process printed."""
    passed = re.findall(r"^\[       OK \] (\S+)", output, re.MULTILINE)
    skipped = re.findall(r"^\[  SKIPPED \] (\S+) \(", output, re.MULTILINE)
    failed = set(re.findall(r"^\[  FAILED  \] ([^\s,]+)(?:, where .*)? \(\d+ ms\)", output, re.MULTILINE))
    begun = re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE)
    if len(begun) > len(passed) + len(skipped) + len(failed):
        failed.add(f"{begun[-1]} ({'out of time' if status is None else f'exit status {status}'})")
    findings = collections.Counter(re.findall(r"^=+ +(?:Error|Warning): Race reported .* at (.+?)\+0x", output,
                                              re.MULTILINE))
    findings += collections.Counter(re.findall(r"^=+ +Invalid .*\n=+ +at (.+?)\+0x", output, re.MULTILINE))
    others = {kernel for kernel in findings if kernel.startswith(OTHERS_KERNELS)}
    for kernel, count in findings.items():
        if kernel in others:
            summary["others_findings"] += count
        else:
            summary["findings"][kernel] = summary["findings"].get(kernel, 0) + count
    reported = re.search(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+)", output, re.MULTILINE)
    # What the patterns above do not know of.
    if reported and int(reported[1]) > 0 and not findings:
        summary["findings"]["unknown"] = summary["findings"].get("unknown", 0) + int(reported[1])
    if status != 0 and not failed and not findings:
        failed.add(f"{summary['program']} ({'out of time' if status is None else f'exit status {status}'})")
    summary["passed"] += len(passed)
    summary["skipped"] += len(skipped)
    summary["failed"] += sorted(failed)


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
