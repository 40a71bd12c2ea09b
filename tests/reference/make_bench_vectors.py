#!/usr/bin/env python3
"""Writes tests/data/bench/*.json: what SGLang's own bench_serving does, for the tests of src/bench.

    pip download sglang==0.5.9 --no-deps -d DIR
    python tests/reference/make_bench_vectors.py DIR/sglang-0.5.9-py3-none-any.whl

Needs numpy; what else bench_serving imports is not used here and replaced by empty modules.

Each case runs bench_serving's run_benchmark with a stand-in for the network: requests are recorded
instead of sent and answer with made-up timings, asyncio.sleep records its argument, the clock
stands still. So lengths, prompts, adapters, gaps, the table and the JSON line are its own code's.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import io
import json
import pathlib
import random
import sys
import tempfile
import types
import unittest.mock as mock
import zipfile

import numpy as np

UNUSED = ("aiohttp", "datasets", "PIL", "PIL.Image", "pybase64", "requests", "tqdm", "tqdm.asyncio")
UNUSED += ("transformers",)
OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "bench"
DURATION = 12.25


def load_bench_serving(wheel):
    for name in UNUSED:
        sys.modules.setdefault(name, mock.MagicMock())
    folder = pathlib.Path(tempfile.mkdtemp())
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("sglang/bench_serving.py", folder)
    spec = importlib.util.spec_from_file_location(
        "bench_serving", folder / "sglang" / "bench_serving.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class SpellingTokenizer:
    """A token is a character: ids are code points minus 32, decoded as they are."""

    vocab_size = 90

    def __init__(self, special):
        self.special = special

    def num_special_tokens_to_add(self):
        return self.special

    def encode(self, text, add_special_tokens=True):
        return [ord(c) - 32 for c in text]

    def decode(self, ids):
        return "".join(chr(32 + i) for i in ids)


DEFAULTS = dict(
    backend="sglang", base_url=None, host="0.0.0.0", port=None, dataset_name="random-ids",
    dataset_path="", model="model", served_model_name=None, tokenizer=None, num_prompts=1000,
    sharegpt_output_len=None, sharegpt_context_len=None, random_input_len=1024,
    random_output_len=1024, random_range_ratio=0.0, request_rate=float("inf"),
    max_concurrency=None, output_file=None, output_details=False, print_requests=False,
    disable_tqdm=True, disable_stream=False, return_logprob=False, return_routed_experts=False,
    seed=1, disable_ignore_eos=False, extra_request_body=None, apply_chat_template=False,
    profile=False, plot_throughput=False, lora_name=None, lora_request_distribution="uniform",
    lora_zipf_alpha=1.5, prompt_suffix="", pd_separated=False, flush_cache=False,
    warmup_requests=0, tokenize_prompt=False, tag=None, header=None, use_trace_timestamps=False,
)  # fmt: skip


def made_up_output(bench, request, index):
    """Timings that are different for every request, binary fractions so that sums are exact."""
    output = bench.RequestFuncOutput.init_new(request)
    if index % 7 == 5:
        output.error = "made to fail"
        return output
    output.success = True
    output.start_time = 1000.0 + index / 8
    output.ttft = (1 + index % 5) / 16
    output.itl = [(1 + (index * 3 + j) % 11) / 64 for j in range(index % 4)]
    output.latency = output.ttft + sum(output.itl) + 1 / 128
    output.output_len = 1 + len(output.itl)
    output.generated_text = "x" * output.output_len + '"\\'
    return output


def run(bench, special=1, **changed):
    """One run of bench_serving: what it sent, printed and wrote."""
    args = argparse.Namespace(**{**DEFAULTS, **changed})
    sent, gaps, outputs = [], [], []

    async def request_func(request_func_input, pbar=None):
        output = made_up_output(bench, request_func_input, len(sent))
        sent.append(request_func_input)
        outputs.append(output)
        return output

    async def sleep(seconds):
        gaps.append(seconds)

    clock = iter([1000.0, 1000.0 + DURATION])
    fake_time = types.SimpleNamespace(perf_counter=lambda: next(clock), sleep=lambda s: None)
    reply = types.SimpleNamespace(status_code=404)
    with tempfile.NamedTemporaryFile("r") as file, mock.patch.dict(
        bench.ASYNC_REQUEST_FUNCS, {args.backend: request_func}
    ), mock.patch.object(bench, "time", fake_time), mock.patch.object(
        bench, "get_tokenizer", lambda name: SpellingTokenizer(special)
    ), mock.patch.object(bench, "check_chat_template", lambda path: True), mock.patch.object(
        bench.requests, "get", lambda *a, **k: reply
    ), mock.patch.object(asyncio, "sleep", sleep):
        args.output_file = file.name
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            bench.run_benchmark(args)
        line = file.read().rstrip("\n")
    table = printed.getvalue()[printed.getvalue().rindex("\n====", 0, -60) :]
    return sent, gaps, outputs, table, line


def workload(bench, name, changed, special=1):
    sent, gaps, _, _, _ = run(bench, special, **changed)
    adapters = changed.get("lora_name")
    return {
        "name": name,
        "special_tokens": special,
        "options": {
            k: "inf" if v == float("inf") else v for k, v in changed.items() if k != "lora_name"
        },
        "adapter_count": len(adapters or []),
        "prompt_tokens": [r.prompt_len for r in sent],
        "output_tokens": [r.output_len for r in sent],
        "adapters": [adapters.index(str(r.lora_name)) if adapters else -1 for r in sent],
        "gaps": gaps,
        "prompt_starts": [r.prompt[:8] for r in sent],
    }


def make_workloads(bench):
    names = [f"lora{i}" for i in range(16)]
    w1 = dict(num_prompts=100, request_rate=4.0, random_input_len=2048, random_output_len=1024)
    small = dict(num_prompts=40, request_rate=2.0, random_input_len=256, random_output_len=64)
    return [
        workload(bench, "W1", {**w1, "lora_name": names}),
        workload(bench, "base", {**w1, "seed": 7, "random_range_ratio": 0.5}, special=0),
        workload(bench, "distinct", {
            **small, "lora_name": names[:5], "lora_request_distribution": "distinct"}),
        workload(bench, "skewed", {
            **small, "lora_name": names[:12], "lora_request_distribution": "skewed", "seed": 3}),
        workload(bench, "ids", {
            **small, "tokenize_prompt": True, "lora_name": names[:3], "seed": 123456789}),
        workload(bench, "burst", {
            **small, "request_rate": float("inf"), "lora_name": names[:8]}),
    ]  # fmt: skip


def make_shared_conversations(bench, path):
    rows = [
        {"conversations": [{"value": f"Prompt number {i} " + "abc " * (i % 9)},
                           {"value": "Answer " * (1 + i % 6)}]}
        for i in range(60)
    ]  # fmt: skip
    rows.insert(3, {"conversations": [{"value": "alone"}]})
    rows.insert(9, {"conversation": [{"value": "x"}, {"value": "too short"}]})
    path.write_text(json.dumps(rows))
    names = ["a", "b", "c"]
    base = dict(num_prompts=20, request_rate=5.0, dataset_path=str(path), lora_name=names)
    cases = [
        workload(bench, "random", {
            **base, "dataset_name": "random", "random_input_len": 64, "random_output_len": 32}),
        workload(bench, "sharegpt", {
            **base, "dataset_name": "sharegpt", "sharegpt_context_len": 90,
            "prompt_suffix": " Think first. "}),
    ]  # fmt: skip
    for case in cases:
        del case["options"]["dataset_path"]
    return cases


def make_report(bench):
    changed = dict(num_prompts=30, request_rate=4.0, random_input_len=64, random_output_len=32,
                   max_concurrency=8, tag="t", output_details=True)  # fmt: skip
    _, _, outputs, table, line = run(bench, **changed)
    return {
        "duration": DURATION,
        "outcomes": [
            dict(success=o.success, error=o.error, prompt_tokens=o.prompt_len,
                 output_tokens=o.output_len, start=o.start_time, latency=o.latency, ttft=o.ttft,
                 itl=o.itl, text=o.generated_text)
            for o in outputs
        ],
        "table": table,
        "line": line,
    }  # fmt: skip


def make_draws():
    """The generators themselves, beyond what the workloads reach."""
    cases = []
    for seed in (0, 1, 42, 2**32 - 1):
        np.random.seed(seed)
        cases.append({
            "seed": seed,
            "small": np.random.randint(3, 10, size=20).tolist(),
            "one": np.random.randint(5, 6, size=2).tolist(),
            "wide": [str(v) for v in np.random.randint(-(2**40), 2**41, size=10)],
            "full32": np.random.randint(0, 2**32, size=5).tolist(),
            "exponential": [np.random.exponential(0.25) for _ in range(10)],
            "choice": [int(np.random.choice(4, p=[0.1, 0.2, 0.3, 0.4])) for _ in range(20)],
        })  # fmt: skip
    python = []
    for seed in (0, 1, 42, 2**40 + 5):
        random.seed(seed)
        shuffled = list(range(30))
        choices = [random.choice(range(n)) for n in (1, 2, 3, 16, 1000, 70000)]
        random.shuffle(shuffled)
        python.append({"seed": str(seed), "choices": choices, "shuffled": shuffled})
    rng = np.random.default_rng(5)
    samples = []
    for count in (1, 2, 7, 8, 9, 100, 129, 1000):
        values = rng.exponential(0.03, size=count).tolist()
        samples.append({
            "values": values, "sum": float(np.sum(values)), "mean": float(np.mean(values)),
            "std": float(np.std(values)), "median": float(np.median(values)),
            "percentiles": [float(np.percentile(values, p)) for p in (0, 25, 90, 95, 99, 100)],
        })  # fmt: skip
    return {"numpy": cases, "python": python, "samples": samples}


def write(name, value):
    path = OUT / name
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    bench = load_bench_serving(sys.argv[1])
    write("workloads.json", make_workloads(bench))
    conversations = OUT / "sharegpt.json"
    write("conversations.json", make_shared_conversations(bench, conversations))
    write("report.json", make_report(bench))
    write("draws.json", make_draws())


if __name__ == "__main__":
    main()
