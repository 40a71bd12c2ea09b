#!/usr/bin/env python3
"""Whether copies of adapters hide behind steps, and whether the device waits between steps, from a trace.

    copy_overlap.py TRACE [--least SHARE]

TRACE is what weft serve --trace writes. Prints one line of JSON: of the time in which adapters were copied and some
sequence could run (it had begun and not ended), the share in which a step computed; the rate of the copies while there
were any; the device's idle time between steps. Ends with 1 when the share is less than SHARE.
"""

import argparse
import json
import pathlib
import sys

ENGINE, REQUESTS = 1, 3  # Groups of src/engine/trace.h, as process ids.


def union(spans):
    """Sorted spans that do not touch, over the same time."""
    merged = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return merged


def common(some, others):
    """The time that two unions share, as a union."""
    shared, i, k = [], 0, 0
    while i < len(some) and k < len(others):
        begin, end = max(some[i][0], others[k][0]), min(some[i][1], others[k][1])
        if begin < end:
            shared.append([begin, end])
        if some[i][1] < others[k][1]:
            i += 1
        else:
            k += 1
    return shared


def length(spans):
    return sum(end - begin for begin, end in spans)


def quantile(values, share):
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0


def measure(events):
    tracks = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    of_engine = {"compute": [], "copy": []}
    runnable = []
    for event in events:
        if event["ph"] != "X":
            continue
        begin, end = event["ts"], event["ts"] + event["dur"]
        track = tracks[event["pid"], event["tid"]]
        if event["pid"] == ENGINE and track in of_engine:
            of_engine[track].append((begin, end, event["args"]))
        elif event["pid"] == REQUESTS:
            runnable.append((begin + event["args"]["queued_us"], end))
    steps = union(span[:2] for span in of_engine["compute"])
    copies = union(span[:2] for span in of_engine["copy"])
    counted = common(copies, union(runnable))
    copied = sum(arguments["bytes"] for _, _, arguments in of_engine["copy"])
    idle = [arguments["idle_us"] for _, _, arguments in of_engine["compute"]]
    return {
        "copied_gb": copied / 1e9,
        "copy_gb_per_s": copied / 1e3 / length(copies) if copies else 0,
        "copy_ms": length(copies) / 1e3,
        "copy_ms_while_any_could_run": length(counted) / 1e3,
        "hidden": length(common(counted, steps)) / length(counted) if counted else 1,
        "steps": len(idle),
        "idle_us_median": quantile(idle, 0.5),
        "idle_us_p99": quantile(idle, 0.99),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("--least", type=float, default=0)
    options = parser.parse_args()
    measured = measure(json.loads(options.trace.read_text())["traceEvents"])
    print(json.dumps(measured))
    if measured["hidden"] < options.least:
        sys.exit(f"only {measured['hidden']:.1%} of the copies hide behind steps, {options.least:.1%} are wanted")


if __name__ == "__main__":
    main()
