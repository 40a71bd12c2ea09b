"""weft simulate: what a server would do on a machine that is not there."""

import json
import pathlib
import subprocess

import pytest

WORKLOADS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks/workloads"
W1 = ["--workload", str(WORKLOADS / "w1.toml"), "--hardware", "h200",
      "--chunked-prefill-size", "2048", "--lora-host-memory", "12GB", "--runs", "2"]
ROOM_FOR_8 = ["--lora-memory", "5570MB"]

MACHINE = """gpu = false
device-memory-gib = 16
host-memory-gib = 16
memory-gb-per-second = 30
tflops = 0.4
adapter-tflops = 0.3
copy-gb-per-second = 10
read-gb-per-second = 1
step-us = 200
adapted-prefill-us = 200
"""


def numbers_alone(constant):
    """As strict parsers read JSON; bench_serving itself writes a rate of Infinity."""
    assert constant == "Infinity", constant
    return float("inf")


@pytest.fixture
def simulate(binary, tmp_path):
    def run(*flags, status=0):
        output = tmp_path / "runs.jsonl"
        output.unlink(missing_ok=True)
        done = subprocess.run([binary, "simulate", "--output-file", str(output), *flags],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        lines = output.read_text().splitlines() if output.exists() else []
        runs = [json.loads(line, parse_constant=numbers_alone) for line in lines]
        return done, runs

    return run


# Measured on an H200 (docs/performance.md, "W1"): mean E2E and TTFT of the second, warm run.
@pytest.mark.parametrize("flags, e2e, ttft", [
    (["--adapters", "0"], 2906, 36),
    (["--max-loras-per-batch", "16"], 4094, 48),
    (ROOM_FOR_8, 4584, 377),
    ([*ROOM_FOR_8, "--lora-load-policy", "blocking"], 5163, 1211),
], ids=["none", "shared", "room for 8", "room for 8, blocking"])
def test_w1_is_as_measured_on_a_gpu(simulate, flags, e2e, ttft):
    _, (_, warm) = simulate(*W1, *flags)
    assert (warm["completed"], warm["total_output_tokens"]) == (100, 52444)
    assert warm["dataset_name"] == "random-ids"
    assert warm["mean_e2e_latency_ms"] == pytest.approx(e2e, rel=0.12)
    assert warm["mean_ttft_ms"] == pytest.approx(ttft, rel=0.2)


def test_the_same_flags_say_the_same(simulate):
    first, again = (simulate(*W1, *ROOM_FOR_8)[0].stdout for _ in range(2))
    assert first == again
    assert simulate(*W1, *ROOM_FOR_8, "--seed", "2")[0].stdout != first


def test_cold_runs_load_and_warm_ones_need_not(simulate):
    done, (cold, warm) = simulate(*W1, "--max-loras-per-batch", "16")
    assert cold["mean_ttft_ms"] > 3 * warm["mean_ttft_ms"]
    loaded = [int(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("Adapters loaded")]
    assert loaded == [15, 0]  # And one for the warm-up request.


def test_a_machine_of_ones_own(simulate, tmp_path, model_dir):
    machine = tmp_path / "machine.toml"
    machine.write_text(MACHINE)
    load = ["--num-prompts", "20", "--random-input-len", "64", "--random-output-len", "32",
            "--model-path", str(model_dir), "--adapters", "4", "--rank", "8"]
    _, (run,) = simulate("--hardware", str(machine), *load)
    assert run["completed"] == 20
    machine.write_text(MACHINE.replace("step-us = 200", "step-us = 20000"))
    _, (slow,) = simulate("--hardware", str(machine), *load)
    assert slow["mean_e2e_latency_ms"] > 10 * run["mean_e2e_latency_ms"]


@pytest.mark.parametrize("flags, words", [
    (["--like", "smollm2-135m"], "--hardware"),
    (["--hardware", "abacus", "--like", "smollm2-135m"], "known: h200"),
    (["--hardware", "h200"], "which model"),
    (["--hardware", "nowhere.toml", "--like", "smollm2-135m"], "nowhere.toml"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--kv-memory", "9TB"], "--kv-memory"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--adapters", "many"], "not a whole number"),
    (["--hardware", "{tmp}/small.toml", "--like", "llama-3.1-8b"], "nothing is left for KV"),
    (["--hardware", "{tmp}/small.toml", "--like", "llama-3.1-8b", "--kv-memory", "1GiB"], "free"),
    (["--hardware", "h200", "--like", "llama-3.1-8b", "--kv-memory", "138GiB"], "give less --kv-memory"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--context-length", "9000"], "--context-length"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--adapters", "2", "--rank", "513"], "--max-lora-rank 512"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--adapters", "2", "--lora-zipf-alpha", "nan"], "above 1"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--adapters", "1", "--lora-request-distribution", "skewed"],
     "two or more"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--random-output-len", "4294967297"], "--random-output-len"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--request-rate", "1e-12"], "--request-rate"),
    (["--hardware", "h200", "--like", "smollm2-135m", "--warmup-requests", "1000000000"], "--warmup-requests"),
    (["--hardware", "h200", "--workload", "{tmp}/twice.toml"], "two groups of adapters are named 'a'"),
    (["--hardware", "h200", "--workload", "{tmp}/word.toml"], "the rank of 'a'"),
])
def test_what_is_wrong_is_said_in_a_line(simulate, flags, words, tmp_path):
    (tmp_path / "small.toml").write_text(MACHINE.replace("device-memory-gib = 16", "device-memory-gib = 4"))
    group = '[model]\nlike = "smollm2-135m"\n[bench]\nseed = 1\n' + '[[adapters]]\nname = "a"\ncount = 1\n'
    (tmp_path / "twice.toml").write_text(group + '[[adapters]]\nname = "a"\ncount = 2\n')
    (tmp_path / "word.toml").write_text(group + 'rank = "64"\n')
    done, _ = simulate(*(flag.format(tmp=tmp_path) for flag in flags), status=2)
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_requests_that_cannot_be_served_are_counted_and_named(simulate):
    done, (run,) = simulate("--hardware", "h200", "--like", "smollm2-135m", "--num-prompts", "4",
                            "--random-input-len", "9000", "--random-range-ratio", "1", status=1)
    assert run["completed"] == 0
    assert "4 of 4 requests were refused" in done.stderr
