"""What a server keeps in memory: the model, the pool, the host's images, and little else."""

import pathlib
import re
import subprocess

import pytest

from conftest import MODEL
from weft_server import DEVICE, WeftServer, wait_for

MIB = 1 << 20
ALLOWED = 100 * MIB
GROWTH_ALLOWED = 16 * MIB
UNITS = {"KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}
ADAPTERS = 6


@pytest.fixture(scope="module")
def small_lm(binary, tmp_path_factory) -> pathlib.Path:
    """SmolLM2-135M's shape in bfloat16, and six adapters for it."""
    folder = tmp_path_factory.mktemp("small-lm")
    subprocess.run([binary, "make", "model", "--like", "smollm2-135m", "--tokenizer", str(MODEL), str(folder / "model")],
                   check=True, timeout=120)
    for i in range(ADAPTERS):
        subprocess.run([binary, "make", "adapter", "--model", str(folder / "model"), "--rank", "16", "--seed", str(i),
                        str(folder / f"a{i}")], check=True, timeout=60)
    return folder


def size(log: str, pattern: str) -> int:
    number, unit = re.search(pattern.replace("SIZE", r"([0-9.]+) ([KMG]iB)"), log).groups()
    return int(float(number) * UNITS[unit])


def status_bytes(server: WeftServer, field: str) -> int:
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


@pytest.fixture
def small_server(binary, small_lm, tmp_path):
    paths = [f"a{i}={small_lm}/a{i}" for i in range(ADAPTERS)]
    server = WeftServer(binary, small_lm / "model", tmp_path / "weft.log", "--kv-memory", "256MiB",
                        "--lora-host-memory", "128MiB", "--lora-paths", *paths, dtype="bfloat16")
    yield server
    server.stop()


def serve_all_adapters(server: WeftServer):
    for i in range(24):
        reply = server.post("/generate", {"input_ids": list(range(1, 200 + i)), "lora_path": f"a{i % ADAPTERS}",
                                          "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}})
        assert reply.status_code == 200, reply.text


def gpu_bytes() -> int:
    """What is used of the GPU, by everybody; 0 where no GPU is tested."""
    if DEVICE != "cuda":
        return 0
    done = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"],
                          check=True, capture_output=True, text=True, timeout=60)
    return int(done.stdout) * MIB


def test_serving_takes_no_further_memory(small_server):
    """P2: memory is taken at the start; what is allocated at the first use of a kernel or a buffer stays."""
    serve_all_adapters(small_server)
    host, gpu = small_server.settled_resident_bytes(), gpu_bytes()
    for _ in range(4):
        assert small_server.post("/flush_cache").status_code == 200
        serve_all_adapters(small_server)
    assert small_server.resident_bytes() <= host + GROWTH_ALLOWED
    assert gpu_bytes() <= gpu + GROWTH_ALLOWED


@pytest.mark.skipif(DEVICE == "cuda", reason="on a GPU the model and the pool are not in the process's memory")
def test_resident_size_is_model_pool_and_host_memory(small_server):
    log = small_server.log.read_text()
    pages = int(re.search(r"pool: (\d+) pages", log)[1])
    model = size(log, "SIZE of weights")
    arenas = (pages + 1) * size(log, "pages of SIZE") + size(log, "host memory for adapters: SIZE")
    # Memory that has been promised is there, at the latest soon after the start.
    wait_for(lambda: small_server.resident_bytes() >= model + arenas - MIB, 60, "the presence of all memory")
    serve_all_adapters(small_server)
    assert small_server.resident_bytes() <= model + arenas + ALLOWED
    # The highest it ever was: what reading and packing takes counts as well.
    assert status_bytes(small_server, "VmHWM") <= model + arenas + ALLOWED
