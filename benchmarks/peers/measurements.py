"""The measurements, each of one case and one contender: short commands of their own, so that nothing runs beside them."""

import dataclasses
import json
import os
import resource
import subprocess
import tempfile
import time

from http_server import HttpServer
from preparation import BF16_MODEL, CACHE, LLAMA_BIN, STEP_SPEED, WEFT, adapters, demo_model, workload_file

THREADS = "2"
LLAMA_SLOTS = 8
CHECK_PROMPT = "The capital of France is"
CHECK_TOKENS = 8


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    section: str
    contenders: tuple
    workload: str = ""
    adapters: str = "mixed"  # Or one, or none.
    throttled: bool = False


CASES = (
    Case("steps", "A", ("weft", "llama.cpp", "llama.cpp-q4_1")),
    Case("w8-burst-mixed", "B", ("weft", "llama.cpp"), "w8-burst", "mixed"),
    Case("w8-burst-one", "B", ("weft", "llama.cpp"), "w8-burst", "one"),
    Case("w8-burst-none", "B", ("weft", "llama.cpp"), "w8-burst", "none"),
    Case("w8-rate-mixed", "B", ("weft", "llama.cpp"), "w8-rate", "mixed"),
    Case("w8-rate-none", "B", ("weft", "llama.cpp"), "w8-rate", "none"),
    Case("w9-2-throttled", "C", ("blocking", "overlapped", "resident"), "w9-2", throttled=True),
    Case("w9-2", "C", ("blocking", "overlapped"), "w9-2"),
    Case("w9-1-throttled", "C", ("blocking", "overlapped", "resident"), "w9-1", throttled=True),
    Case("w9-1", "C", ("blocking", "overlapped"), "w9-1"),
)

_KEPT = (
    *("completed", "duration", "request_throughput", "total_throughput", "mean_e2e_latency_ms", "mean_ttft_ms"),
    *("median_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_itl_ms", "p99_itl_ms", "max_itl_ms"),
)


def _lines(command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _ceilings():
    (device,) = _lines((WEFT, "bench", "device", "--threads", THREADS))
    return {
        "memory_bytes_per_second": device["memory_read_bytes_per_second"]["all"],
        "bf16_operations_per_second": device["bf16_operations_per_second"]["all"],
    }


def _weft_steps():
    cases = {line["case"]: line for line in _lines((STEP_SPEED, BF16_MODEL, "--threads", THREADS))}
    return {
        "prefill_512": cases["prefill-512"]["prefill_tokens_per_s"],
        "prefill_2048": cases["prefill-2048"]["prefill_tokens_per_s"],
        "decode_1": cases["decode-1"]["decode_tokens_per_s"],
        "decode_8": cases["batch-8"]["decode_tokens_per_s"],
        "prefill_8x128": cases["batch-8"]["prefill_tokens_per_s"],
        **_ceilings(),
    }


def _llama_steps(model):
    """llama-bench warms up and repeats twice, as weft_step_speed does; llama-batched-bench does each case once, and
    its first case here is a warm-up."""
    bench = (LLAMA_BIN / "llama-bench", "-m", model, "-t", THREADS, "-r", "2", "-o", "jsonl")
    alone = {(line["n_prompt"], line["n_gen"]): line["avg_ts"] for line in _lines((*bench, "-p", "512,2048", "-n", "64"))}
    batched = (LLAMA_BIN / "llama-batched-bench", "-m", model, "-t", THREADS, "-c", "2048", "-ub", "512")
    lines = _lines((*batched, "-npp", "128,128,128", "-ntg", "32", "-npl", "8", "--output-format", "jsonl"))[1:]
    return {
        "prefill_512": alone[(512, 0)],
        "prefill_2048": alone[(2048, 0)],
        "decode_1": alone[(0, 64)],
        "decode_8": len(lines) / sum(1 / line["speed_tg"] for line in lines),
        "prefill_8x128": len(lines) / sum(1 / line["speed_pp"] for line in lines),
    }


def _steps(case, contender):
    if contender == "weft":
        return _weft_steps()
    return _llama_steps(BF16_MODEL if contender == "llama.cpp" else demo_model())


def _lora_body(index):
    """How a request names its adapter to llama.cpp. None: an empty list would apply every adapter."""
    return {"lora": [{"id": 0, "scale": 0} if index is None else {"id": index, "scale": 1}]}


def _server_command(case, contender):
    loras = adapters(case.workload)
    if contender == "llama.cpp":
        command = [LLAMA_BIN / "llama-server", "-m", BF16_MODEL, "-t", THREADS, "-tb", THREADS]
        command += ["-np", LLAMA_SLOTS, "-c", LLAMA_SLOTS * 512, "--cache-ram", "0", "--lora-init-without-apply"]
        return command + [word for _, folder in loras for word in ("--lora", folder / "adapter.gguf")]
    command = [WEFT, "serve", "--model-path", BF16_MODEL, "--served-model-name", "base", "--device", "cpu"]
    command += ["--threads", THREADS, "--kv-memory", "1GiB"]
    if case.section == "B":
        command += ["--max-loras-per-batch", "8", "--max-loaded-loras", "8"]
    else:
        command += ["--max-loras-per-batch", "4"]
        if contender == "resident":
            command += ["--max-loaded-loras", "12", "--lora-host-memory", "520MB"]
        else:
            # Four adapters of 39 MB and what packing leaves empty, no fifth; and six.
            command += ["--lora-memory", "170MB", "--lora-host-memory", "255MB", "--max-loaded-loras", "6"]
            command += ["--lora-load-policy", contender]
            if case.throttled:
                command += ["--lora-read-bandwidth", "100MB"]
    return command + ["--lora-paths", *(f"{name}={folder}" for name, folder in loras)]


def _client_command(case, contender, url, results):
    loras = adapters(case.workload)
    command = [WEFT, "bench", "--workload", workload_file(case.workload), "--backend", "vllm", "--base-url", url]
    command += ["--model", BF16_MODEL, "--served-model-name", "base"]
    command += ["--output-file", results, "--disable-tqdm"]
    if case.adapters != "mixed":
        command += ["--lora-name", loras[0][0] if case.adapters == "one" else ""]
    if contender == "llama.cpp":
        bodies = {name: _lora_body(i) for i, (name, _) in enumerate(loras)} | {"": _lora_body(None)}
        command += ["--lora-request-body", json.dumps(bodies), "--flush-cache=false"]
        command += ["--extra-request-body", json.dumps({"cache_prompt": False})]
    return command


def _check_answers(case, contender, server):
    """The base's and each adapter's answer to one prompt: makes all adapters resident where they fit, and the table
    compares them between the servers."""
    answers = []
    for index, name in [(None, None), *enumerate(name for name, _ in adapters(case.workload))]:
        more = _lora_body(index) if contender == "llama.cpp" else {"model": name or "base"}
        answers.append(server.complete(CHECK_PROMPT, CHECK_TOKENS, more))
    return answers


def _children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _load(case, contender, more_server_flags=()):
    CACHE.mkdir(parents=True, exist_ok=True)
    log = CACHE / f"server-{case.name}-{contender}.log"
    with HttpServer([*_server_command(case, contender), *more_server_flags], log) as server:
        answers = _check_answers(case, contender, server)
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as results:
            command = [str(part) for part in _client_command(case, contender, server.url, results.name)]
            before, client_before = server.cpu_seconds(), _children_seconds()
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            server_cpu, client_cpu = server.cpu_seconds() - before, _children_seconds() - client_before
            if done.returncode:
                raise RuntimeError(f"weft bench ended with status {done.returncode}:\n{done.stderr}")
            line = json.loads(results.read().decode().splitlines()[-1])
    kept = {key: line[key] for key in _KEPT}
    return kept | {"server_cpu_seconds": server_cpu, "client_cpu_seconds": client_cpu, "answers": answers}


def _busy_seconds():
    """Of all processors, since the machine started: user, nice, system, interrupts, and stolen by other guests."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def find_case(name):
    return next(case for case in CASES if case.name == name)


def measure(case, contender, more_server_flags=()):
    """One run: the figures by name. What others took of the processors meanwhile says whether to believe them."""
    started, busy, own = time.monotonic(), _busy_seconds(), _children_seconds() + time.process_time()
    figures = _steps(case, contender) if case.section == "A" else _load(case, contender, more_server_flags)
    own = _children_seconds() + time.process_time() - own
    processor_seconds = (time.monotonic() - started) * os.cpu_count()
    return figures | {"others_share": (_busy_seconds() - busy - own) / processor_seconds}
