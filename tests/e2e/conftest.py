"""Fixtures: the binary, a model directory, running servers, clients."""

import json
import os
import pathlib
import shutil

import openai
import pytest

from weft_server import DEVICE, WeftServer

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
MODEL = DATA / "models" / "llama"
ADAPTERS = ("r8", "r3", "rslora")

float32 = pytest.mark.skipif(DEVICE == "cuda", reason="compares with float32 references; "
                             "test_devices_agree.py has bounds for bfloat16")


@pytest.fixture(scope="session")
def binary() -> str:
    path = os.environ.get("WEFT_BINARY")
    if not path:
        pytest.exit("set WEFT_BINARY to the built weft", returncode=2)
    return str(pathlib.Path(path).resolve())


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> pathlib.Path:
    """The model's files alone, without what other tests keep beside them."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                 "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(MODEL / name, folder / name)
    return folder


def adapter_path(name: str) -> str:
    return str(DATA / "adapters" / name)


ADAPTER_FLAGS = [f"{name}={adapter_path(name)}" for name in ADAPTERS]


def expected(path: pathlib.Path) -> list[dict]:
    """Prompts with what transformers or PEFT made of them."""
    return json.loads((path / "expected.json").read_text())["prompts"]


@pytest.fixture(scope="session")
def start(binary, model_dir, tmp_path_factory):
    """Starts a server with further flags; all are stopped at the end."""
    running = []

    def start_one(*flags: str, **where: str) -> WeftServer:
        log = tmp_path_factory.mktemp("log") / "weft.log"
        server = WeftServer(binary, model_dir, log, *flags, **where)
        running.append(server)
        return server

    yield start_one
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def server(start) -> WeftServer:
    """The server that most tests share; they leave it as they found it. Its answers are compared with each other,
    so it is deterministic, which a GPU is only when told to."""
    return start("--deterministic", "--lora-paths", *ADAPTER_FLAGS)


def client_of(server: WeftServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def client(server) -> openai.OpenAI:
    return client_of(server)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its server's log."""
    outcome = yield
    report = outcome.get_result()
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and server is not None:
        report.sections.append(("weft serve", server.log.read_text(errors="replace")[-4000:]))
