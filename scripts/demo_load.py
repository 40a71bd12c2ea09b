"""The demo's measurement: more adapters than fit, loaded in the step path (`blocking`) and beside it (`overlapped`).

Twelve adapters of rank 64 (39 MB each in bf16), memory for four, host memory for six, files read as from a slow disk,
so that a load takes 0.4 s; two short requests a second, so that loads and requests meet. Each policy gets a server of
its own, the same flags otherwise, and the same requests.
"""

import json
import shutil
import subprocess
import time

from demo_server import Server

POLICIES = ("blocking", "overlapped")
ADAPTERS = 12
RANK = 64
REQUESTS = 60
REQUEST_RATE = 2.0
SERVER_FLAGS = (
    *("--kv-memory", "512MiB"),
    *("--max-loras-per-batch", "4"),
    *("--lora-memory", "170MB"),  # Four adapters of 39 MB and what packing leaves empty; no fifth.
    *("--lora-host-memory", "255MB"),  # Six.
    *("--lora-read-bandwidth", "100MB"),
)
COLUMNS = (
    ("mean TTFT", "mean_ttft_ms"),
    ("P99 TTFT", "p99_ttft_ms"),
    ("mean E2E", "mean_e2e_latency_ms"),
    ("P99 ITL", "p99_itl_ms"),
)


class LoadFailed(Exception):
    """A command of the measurement failed; the text says which and how."""


def run(command, log):
    """Runs a command with its output appended to `log`."""
    with log.open("a") as output:
        print("$", *command, file=output, flush=True)
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
    if status != 0:
        tail = "\n".join("  " + line for line in log.read_text(errors="replace").splitlines()[-25:])
        raise LoadFailed(f"{command[0]} {command[1]} ended with status {status}; the last lines of {log}:\n{tail}")


def make_adapters(binary, model, cache):
    """Makes the adapters where the cache has none; returns (name, folder) of all."""
    folder = cache / "adapters" / f"r{RANK}-bfloat16"
    if not folder.exists():
        started = time.monotonic()
        print(f"demo: making {ADAPTERS} adapters of rank {RANK} in {folder} (0.5 GB, once)", flush=True)
        # Made beside its place and then renamed, so that an interrupted demo leaves no half set behind.
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        command = [str(binary), "make", "adapter", "--model", str(model), "--rank", str(RANK), "--dtype", "bfloat16"]
        run([*command, "--count", str(ADAPTERS), "--name", "load", str(part)], cache / "demo-make.log")
        part.rename(folder)
        print(f"demo: done in {time.monotonic() - started:.0f} s")
    return [(f"load-{i}", folder / f"load-{i}") for i in range(ADAPTERS)]


def measure(binary, model, adapters, policy, cache):
    """One policy's server and load. Returns the result line of `weft bench`."""
    results = cache / f"demo-bench-{policy}.jsonl"
    results.unlink(missing_ok=True)
    log = cache / f"demo-server-{policy}.log"
    with Server(binary, model, adapters, log, (*SERVER_FLAGS, "--lora-load-policy", policy)) as server:
        command = [str(binary), "bench", "--backend", "sglang", "--base-url", server.url, "--model", str(model)]
        command += ["--dataset-name", "random-ids", "--random-input-len", "64", "--random-output-len", "32"]
        command += ["--num-prompts", str(REQUESTS), "--request-rate", str(REQUEST_RATE), "--seed", "1"]
        command += ["--lora-request-distribution", "uniform", "--output-file", str(results)]
        command += ["--flush-cache", "--disable-tqdm"]
        command += ["--lora-name", *(name for name, _ in adapters)]
        run(command, cache / "demo-bench.log")
    result = json.loads(results.read_text().splitlines()[-1])
    if result["completed"] != REQUESTS:
        raise LoadFailed(f"{policy}: {result['completed']} of {REQUESTS} requests were answered; see {log}")
    return result


def table(results):
    """The lines of the table; `results` maps a policy to its result line."""
    lines = [f"{'policy':<12}" + "".join(f"{title:>12}" for title, _ in COLUMNS)]
    for policy, result in results.items():
        lines.append(f"{policy:<12}" + "".join(f"{result[key]:>9.0f} ms" for _, key in COLUMNS))
    return lines


def compare(binary, model, cache):
    """Makes the adapters, measures both policies, prints the table."""
    adapters = make_adapters(binary, model, cache)
    results = {}
    for policy in POLICIES:
        started = time.monotonic()
        print(
            f"demo: {REQUESTS} requests, {REQUEST_RATE:.0f} a second, over {ADAPTERS} adapters where 4 fit: {policy} loading",
            flush=True,
        )
        results[policy] = measure(binary, model, adapters, policy, cache)
        print(f"demo: done in {time.monotonic() - started:.0f} s")
    print("\n" + "\n".join(table(results)))
    print("\nTTFT: time to the first token. E2E: to the last. ITL: pause between two tokens of a stream.\n")
