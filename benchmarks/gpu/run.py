#!/usr/bin/env python3
"""Runs Weft's GPU benchmarks from an installed bundle (cmake --install), on any machine with a GPU.

    run.py --bundle DIR [--work DIR] [--output FILE] [SECTION ...]

Sections (all by default, each can be run alone): tests (the test programs, which device_tests.py says how to install;
under compute-sanitizer with --sanitizer), steps (times of single steps), none (workload W1 without adapters), shared
(W1, 16 adapters in the pool that KV uses), slots (W1 with adapter memory for eight). Each W1 section runs the workload
twice on one server, cold and warm, for each policy of --policies. Makes what it needs under --work: a model
directory without weights (they are drawn from a seed) and 16 adapters of rank 128 (21 GB). Writes a line of JSON for
every run to --output, and prints a table.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import copy_overlap
import device_tests

VOCABULARY = 128256
ADAPTERS = 16
PORT = 30311
START_LIMIT_S = 240
RUN_LIMIT_S = 200
EIGHT_ADAPTERS = "5570MB"
LEAST_HIDDEN = 0.95  # Of the copies, behind steps, with room for eight.

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": VOCABULARY, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192},
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": 128001,
    "attention_bias": False, "hidden_act": "silu",
}


def byte_letters():
    """The 256 letters of byte-level BPE, as GPT-2 has them."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(others))]


def make_model(folder):
    """A model directory without weights, and a vocabulary in which every id has a text."""
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_letters()
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    for i in range(len(letters), VOCABULARY):
        vocabulary[f"Ġt{i}"] = i
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                 "pre_tokenizer": level, "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                           "vocab": vocabulary, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "config.json").write_text(json.dumps(CONFIG))


class Bench:
    def __init__(self, options):
        self.weft = str(options.bundle / "bin" / "weft")
        self.bundle = options.bundle
        self.work = options.work
        self.output = options.output
        self.policies = options.policies.split(",")
        self.chunk = options.chunked_prefill_size
        self.sanitizer = options.sanitizer
        self.shards = options.shards
        self.workload = str(pathlib.Path(__file__).resolve().parent.parent / "workloads" / "w1.toml")
        self.rows = []
        self.failures = []

    def record(self, entry):
        with self.output.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def make_adapters(self):
        make_model(self.work / "model")
        if (self.work / "adapters" / f"w1-{ADAPTERS - 1}" / "adapter_config.json").exists():
            return
        begin = time.monotonic()
        subprocess.run([self.weft, "make", "adapter", str(self.work / "adapters"), "--model", str(self.work / "model"),
                        "--rank", "128", "--alpha", "256", "--count", str(ADAPTERS), "--name", "w1"], check=True)
        print(f"{ADAPTERS} adapters written in {time.monotonic() - begin:.1f} s", flush=True)

    def tests(self):
        try:
            summaries = device_tests.run(self.bundle, self.sanitizer, self.shards)
        except device_tests.NotInstalled as error:
            sys.exit(str(error))
        for summary in summaries:
            print(device_tests.describe(summary), flush=True)
            self.record({"section": "tests", **summary})
            self.failures += device_tests.failures(summary)
        if self.failures:
            sys.exit("\n".join(self.failures))  # Figures of what computes wrongly mean nothing.

    def steps(self):
        program = self.bundle / "bin" / "weft_step_benchmark"
        # Products are measured, as a server measures them, where the choice can be kept.
        environment = {"WEFT_CACHE": str(self.work / "measured"), **os.environ}
        done = subprocess.run([str(program), "cuda"], check=True, capture_output=True, text=True, timeout=RUN_LIMIT_S,
                              env=environment)
        for line in done.stdout.splitlines():
            print(line)
            self.record({"section": "steps", **json.loads(line)})

    def none(self):
        make_model(self.work / "model")
        self.w1("none", "overlapped", [], ["--lora-name", ""])

    def shared(self):
        self.make_adapters()
        for policy in self.policies:
            self.w1("shared", policy, ["--max-loras-per-batch", "16"], [])

    def slots(self):
        self.make_adapters()
        for policy in self.policies:
            self.w1("slots", policy, ["--max-loras-per-batch", "8", "--lora-memory", EIGHT_ADAPTERS], [])

    def w1(self, section, policy, serve_flags, bench_flags):
        name = f"{section}-{policy}"
        log = self.work / f"server-{name}.log"
        trace = self.work / f"trace-{name}.json"
        command = [self.weft, "serve", "--device", "cuda", "--model-path", str(self.work / "model"),
                   "--load-format", "dummy", "--port", str(PORT), "--max-loaded-loras", str(ADAPTERS),
                   "--lora-host-memory", "12GB", "--lora-load-policy", policy, "--chunked-prefill-size", self.chunk,
                   "--trace", str(trace), *serve_flags]
        if section != "none":
            command += ["--lora-dir", str(self.work / "adapters")]
        begin = time.monotonic()
        with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
            try:
                self.wait_for(server, log)
                print(f"{name}: server ready after {time.monotonic() - begin:.1f} s", flush=True)
                for run in ("cold", "warm"):
                    self.measure(name, run, bench_flags)
            finally:
                server.terminate()
                server.wait(60)
        self.read_trace(name, trace)

    def read_trace(self, name, trace):
        measured = copy_overlap.measure(json.loads(trace.read_text())["traceEvents"])
        self.record({"section": name, "trace": measured})
        print(f"{name}: {json.dumps(measured)}")
        if name == "slots-overlapped" and measured["hidden"] < LEAST_HIDDEN:
            self.failures.append(f"{name}: less than {LEAST_HIDDEN:.0%} of the copies hide behind steps")

    def wait_for(self, server, log):
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            if server.poll() is not None:
                sys.exit(f"the server ended with {server.returncode}:\n{log.read_text()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        sys.exit(f"the server did not start in {START_LIMIT_S} s:\n{log.read_text()}")

    def measure(self, name, run, bench_flags):
        result = self.work / f"bench-{name}-{run}.jsonl"
        result.unlink(missing_ok=True)
        subprocess.run([self.weft, "bench", "--workload", self.workload, "--base-url", f"http://127.0.0.1:{PORT}",
                        "--model", str(self.work / "model"), "--tokenize-prompt", "--disable-tqdm", "--output-file",
                        str(result), *bench_flags],
                       check=True, timeout=RUN_LIMIT_S, stdout=subprocess.DEVNULL)
        figures = json.loads(result.read_text())
        self.record({"section": name, "run": run, **figures})
        self.rows.append((name, run, figures))

    def table(self):
        if not self.rows:
            return
        columns = ["mean_e2e_latency_ms", "median_e2e_latency_ms", "mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms",
                   "median_tpot_ms", "mean_itl_ms", "p99_itl_ms", "output_throughput", "completed"]
        print(f"{'run':24}" + "".join(f"{column[:-3] if column.endswith('_ms') else column:>22}" for column in columns))
        for name, run, figures in self.rows:
            print(f"{name + ' ' + run:24}" + "".join(f"{figures.get(column, float('nan')):22.1f}" for column in columns))


def main():
    sections = ["tests", "steps", "none", "shared", "slots"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/weft-gpu-benchmark"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("gpu-benchmark.jsonl"))
    parser.add_argument("--policies", default="blocking,overlapped")
    parser.add_argument("--chunked-prefill-size", default="2048")
    parser.add_argument("--sanitizer", choices=["memcheck", "racecheck"], help="run the tests under compute-sanitizer")
    parser.add_argument("--shards", type=int, default=1, help="processes that run the tests of a program side by side")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    options = parser.parse_args()
    if unknown := set(options.sections) - set(sections):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    for section in options.sections or sections:
        getattr(bench, section)()
    bench.table()
    if bench.failures:
        sys.exit("\n".join(bench.failures))


if __name__ == "__main__":
    main()
