#!/usr/bin/env python3
"""What a decode step costs beside computing it: planning on the engine's thread, handing over, sampling, and the CPU
time that detokenizing, JSON and sockets take from the compute team.

    benchmarks/step_overhead.py ~/.cache/weft/models/smollm2.gguf

Starts `weft serve --profile`, lets `weft bench` keep --streams requests decoding, and looks at the server twice while
all of them run: at GET /profile, and at the CPU time of each of its threads (/proc/PID/task). Prints a table and a line
of JSON. The client runs on the same machine and takes its own share; that is why the server's threads are counted one
by one."""

import argparse
import collections
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
START_SECONDS = 60
TARGET = 0.03


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's directory or .gguf")
    parser.add_argument("--binary", default=str(ROOT / "build/src/cli/weft"))
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=16, help="tokens of each prompt")
    parser.add_argument("--output", type=int, default=256, help="tokens of each answer")
    parser.add_argument("--seconds", type=float, default=8, help="between the two looks")
    parser.add_argument("--backend", default="sglang", help="of weft bench: whose API the client speaks")
    parser.add_argument("--bench", nargs="*", default=[], help="further flags of weft bench, without the dashes")
    parser.add_argument("--serve", nargs="*", default=[], help="further flags of weft serve, without the dashes")
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, accept="*/*"):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read().decode()


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"{what} did not come true in {seconds} s")


def running(url):
    found = re.search(r"^vllm:num_requests_running(?:\{.*\})? (\S+)$", get(url + "/metrics"), re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def thread_seconds(pid):
    """CPU seconds of the process's threads, by name without its number."""
    seconds = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        nanoseconds = int((task / "schedstat").read_text().split()[0])
        seconds[re.sub(r"[-\d]*$", "", name)] += nanoseconds * 1e-9
    return seconds


def look(url, pid):
    return json.loads(get(url + "/profile", "application/json"))["steps"]["decode"], thread_seconds(pid)


def measure(options, url, pid):
    client = subprocess.Popen(
        [options.binary, "bench", "--backend", options.backend, "--base-url", url, "--tokenizer", options.model,
         "--dataset-name", "random-ids", "--random-input-len", str(options.prompt), "--random-output-len",
         str(options.output), "--random-range-ratio", "1", "--num-prompts", str(options.streams), "--warmup-requests",
         "0", "--disable-tqdm", "--output-file", "/dev/null", *("--" + flag for flag in options.bench)],
        stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: running(url) == options.streams, 30, f"{options.streams} running requests")
        time.sleep(0.5)
        first = look(url, pid)
        time.sleep(options.seconds)
        last = look(url, pid)
        if running(url) != options.streams:
            sys.exit("the streams ended before the second look: ask for more --output or fewer --seconds")
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    return first, last


def report(options, first, last):
    (before, cpu_before), (after, cpu_after) = first, last
    steps = after["count"] - before["count"]
    step = (after["seconds"] - before["seconds"]) / steps
    rows = (after["rows"] - before["rows"]) / steps
    parts = {name: (part["seconds"] - before["parts"][name]["seconds"]) / steps
             for name, part in after["parts"].items()}
    threads = {name: (seconds - cpu_before.get(name, 0)) / steps for name, seconds in cpu_after.items()}
    # The engine's thread is on the critical path already, as "plan" and "hand-over".
    taken = sum(seconds for name, seconds in threads.items() if name in ("weft-io", "weft-text"))
    path = {name: parts[name] for name in ("plan", "hand-over", "sample")}
    overhead = sum(path.values()) + taken
    print(f"{steps} decode steps of {rows:.1f} rows, {step * 1e3:.3f} ms each (API: {options.backend})")
    for name, seconds in path.items():
        print(f"  {name:<22} {seconds * 1e6:9.1f} us {100 * seconds / step:6.2f} %")
    print(f"  {'I/O and text threads':<22} {taken * 1e6:9.1f} us {100 * taken / step:6.2f} %   "
          "(CPU time, as if the team waited for all of it)")
    print(f"  {'together':<22} {overhead * 1e6:9.1f} us {100 * overhead / step:6.2f} %   (target: under "
          f"{100 * TARGET:.0f} %)")
    print("  CPU time a step, by thread: " + ", ".join(
        f"{name} {seconds * 1e6:.0f} us" for name, seconds in sorted(threads.items()) if seconds > 1e-6))
    print(json.dumps({"steps": steps, "rows": rows, "step_seconds": step, "parts": parts, "threads": threads,
                      "overhead_seconds": overhead, "overhead_share": overhead / step, "backend": options.backend}))


def main():
    options = arguments()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.NamedTemporaryFile(prefix="weft-overhead-", suffix=".log") as log:
        server = subprocess.Popen(
            [options.binary, "serve", "--model-path", options.model, "--device", "cpu", "--host", "127.0.0.1", "--port",
             str(port), "--max-running-requests", str(options.streams), "--profile",
             *("--" + flag for flag in options.serve)], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: server.poll() is not None or get(url + "/health") is not None, START_SECONDS, "/health")
            if server.poll() is not None:
                sys.exit(pathlib.Path(log.name).read_text())
            report(options, *measure(options, url, server.pid))
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


if __name__ == "__main__":
    main()
