"""Starts and stops `weft serve` for tests."""

import os
import pathlib
import signal
import socket
import subprocess
import time

import requests

START_SECONDS = 60
DEVICE = os.environ.get("WEFT_TEST_DEVICE", "cpu")  # As in src/device/device_for_test.h.
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}  # What each is tested in; CUDA computes in nothing else.
if DEVICE not in DTYPES:
    raise RuntimeError(f"WEFT_TEST_DEVICE is '{DEVICE}'; it may be {' or '.join(DTYPES)}")


def on_device(device: str, dtype: str | None, flags) -> list[str]:
    """`flags` with those for the device. A GPU's default pool is nearly all of its memory, which several servers
    cannot have at once: they get what a CPU's would be."""
    pool = ["--kv-memory", "1GiB"] if device == "cuda" and "--kv-memory" not in flags else []
    return ["--device", device, "--dtype", dtype or DTYPES[device], *pool, *flags]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WeftServer:
    """A running server. `url` is its address; `log` the file with what it wrote."""

    def __init__(self, binary: str, model_dir: pathlib.Path, log: pathlib.Path, *flags: str,
                 device: str = DEVICE, dtype: str | None = None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        command = [binary, "serve", "--model-path", str(model_dir), "--served-model-name", "tiny",
                   "--host", "127.0.0.1", "--port", str(self.port),
                   *on_device(device, dtype, flags)]
        self.process = subprocess.Popen(command, stdout=open(log, "wb"),
                                        stderr=subprocess.STDOUT)
        self._wait_until_healthy()

    def _wait_until_healthy(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"weft serve ended with {self.process.returncode}:\n"
                                   f"{self.log.read_text(errors='replace')}")
            try:
                if requests.get(self.url + "/health", timeout=1).status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"no /health after {START_SECONDS} s:\n{self.log.read_text()}")

    def post(self, path: str, body=None, **kwargs) -> requests.Response:
        kwargs.setdefault("timeout", 60)
        return requests.post(self.url + path, json=body, **kwargs)

    def get(self, path: str, **kwargs) -> requests.Response:
        kwargs.setdefault("timeout", 60)
        return requests.get(self.url + path, **kwargs)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that carry these labels; 0 when there is none."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] != name:
                continue
            if all(f'{key}="{label}"' in series for key, label in labels.items()):
                total += float(value)
        return total

    def open_files(self) -> int:
        return len(list(pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident_bytes(self) -> int:
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")

    def settled_resident_bytes(self, seconds: float = 60) -> int:
        """The resident size once it stays: after the start, memory that was set aside becomes present."""
        deadline = time.monotonic() + seconds
        before = self.resident_bytes()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = self.resident_bytes()
            if now <= before + 2**20:
                return now
            before = now
        raise RuntimeError(f"the resident size still grows after {seconds} s")

    def stop(self, seconds: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def wait_for(condition, seconds: float = 10, what: str = "the condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true in {seconds} s")
