"""`weft inspect` beside what `weft serve` says and does with the same files."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from conftest import DATA, MODEL
from weft_server import DEVICE, DTYPES, WeftServer, on_device

ROOT = DATA.parents[1]
REFUSED = DATA / "adapters-refused"
# blocks.gguf has tensors, and no model.
MODELS = sorted(path for path in (DATA / "models").iterdir() if path.is_dir()) + sorted(
    path for path in (DATA / "gguf").glob("*.gguf") if path.name != "blocks.gguf")
REASONS = json.loads((REFUSED / "refused.json").read_text())


def run(binary, *arguments, **environment):
    return subprocess.run([binary, "inspect", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env=os.environ | environment)


def inspect(binary, *arguments, **environment) -> list[dict]:
    done = run(binary, "--json", "--dtype", DTYPES[DEVICE], *arguments, **environment)
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == (1 if any(one["would_load"] is False for one in found) else 0)
    return found


def base_of(name: str) -> pathlib.Path:
    return DATA / "models" / REASONS[name]["base_model"]


def error_of_serving(binary, model, *flags: str) -> str:
    done = subprocess.run([binary, "serve", "--model-path", str(model), "--port", "0", *on_device(DEVICE, None, flags)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["dora", "bias-all", "wrong-shape", "truncated", "config-is-missing", "pickle-only"])
def test_an_adapter_has_the_reason_that_serving_ends_with(binary, name):
    [found] = inspect(binary, REFUSED / name, "--model-path", base_of(name))
    assert found["kind"] == "adapter" and found["would_load"] is False
    said = error_of_serving(binary, base_of(name), "--lora-paths", f"x={REFUSED / name}")
    assert said == f"weft serve: --lora-paths x: {found['reason']}"


@pytest.mark.parametrize("name", ["nan", "infinity"])
def test_an_adapter_with_bad_numbers_has_the_reason_that_loading_gives(binary, server, name):
    [found] = inspect(binary, REFUSED / name, "--model-path", MODEL, "--full")
    reply = server.post("/load_lora_adapter", {"lora_name": "bad", "lora_path": str(REFUSED / name)})
    assert reply.json()["error_message"].endswith(found["reason"])
    assert "NaN or infinity" in found["reason"]
    [headers_only] = inspect(binary, REFUSED / name, "--model-path", MODEL)
    assert headers_only["would_load"] is True and "--full" in headers_only["not_checked"][0]


def test_limits_refuse_as_in_serving(binary):
    adapter = DATA / "adapters" / "r8"
    for flags in (["--max-lora-rank", "4"], ["--lora-target-modules", "q_proj", "v_proj"]):
        [found] = inspect(binary, adapter, "--model-path", MODEL, *flags)
        said = error_of_serving(binary, MODEL, "--lora-paths", f"x={adapter}", *flags)
        assert said == f"weft serve: --lora-paths x: {found['reason']}"


def test_adapters_take_the_pages_that_a_server_gives_them(binary, start):
    names = [path.name for path in sorted((DATA / "adapters").iterdir())
             if json.loads((path / "expected.json").read_text())["base_model"] == "llama"]
    assert len(names) > 10
    paths = [str(DATA / "adapters" / name) for name in names]
    found = {pathlib.Path(one["path"]).name: one for one in inspect(binary, *paths, "--model-path", MODEL, "--full")}
    server = start("--lora-paths", *paths)
    for name in names:
        reply = server.post("/generate", {"text": "hello", "lora_path": name, "sampling_params": {"max_new_tokens": 1}})
        assert reply.status_code == 200, reply.text
    info = server.get("/get_server_info").json()
    for adapter in info["lora_adapters"]:
        one = found[adapter["lora_name"]]
        assert one["would_load"] is True
        assert (one["pages"], one["max_rank"]) == (adapter["pages"], adapter["rank"])
    [state] = info["internal_states"]
    assert state["pages_adapter"] == sum(one["pages"] for one in found.values())
    assert state["adapter_host_bytes"] == sum(one["host_bytes"] for one in found.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_models_would_load_and_do(binary, model, tmp_path):
    [found] = inspect(binary, model, "--full")
    assert found["kind"] == "model" and found["would_load"] is True and found["reason"] is None
    server = WeftServer(binary, model, tmp_path / "weft.log", "--kv-memory", "4MiB", "--lora-host-memory", "4MiB")
    try:
        info = server.get("/get_server_info").json()
        [state] = info["internal_states"]
        assert (found["page_bytes"], found["tokens_per_page"]) == (state["page_bytes"], state["tokens_per_page"])
        assert found["context_length"] == info["max_req_input_len"]
        log = (tmp_path / "weft.log").read_text()
        logged = re.search(r"([0-9.]+) ([KM])iB of weights", log)
        kib = float(logged[1]) * (1 if logged[2] == "K" else 1024)
        if DEVICE == "cpu":  # A GPU keeps them in another form.
            assert found["loaded_weight_bytes"] / 1024 == pytest.approx(kib, rel=1e-3)
            assert found["loaded_weight_bytes"] == found["weight_bytes"]
    finally:
        server.stop()


def test_a_model_that_is_not_whole_has_the_reason_that_serving_ends_with(binary, model_dir, tmp_path):
    whole = (DATA / "gguf" / "llama.gguf").read_bytes()
    broken = {"cut.gguf": whole[:12000], "header.gguf": whole[:100], "empty.gguf": b"", "junk.gguf": b"junk" * 100}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in model_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:3000])  # Cuts the weights and the tokenizer.
    for path in [*(tmp_path / name for name in broken), folder]:
        [found] = inspect(binary, path)
        assert found["would_load"] is False
        assert error_of_serving(binary, path) == f"weft serve: {found['reason']}"


def test_what_is_neither_model_nor_adapter_is_one_line_with_a_remedy(binary, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file", tmp_path / "folder", "/dev/null", tmp_path / "absent", "no/such"):
        done = run(binary, path)
        assert done.returncode == 1 and done.stderr == ""
        lines = done.stdout.splitlines()
        assert [line.split(":")[0] for line in lines] == ["path", "would load"]
        assert re.search(r"(name|give|download) ", lines[1]), lines[1]


def test_output_that_cannot_be_written_is_an_error(binary):
    with open("/dev/full", "w") as full:
        done = subprocess.run([binary, "inspect", MODEL], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "weft inspect: the output cannot be written: No space left on device\n"


def test_a_name_in_the_hugging_face_cache_is_found(binary, tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(MODEL)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("abc")
    [model, adapter] = inspect(binary, "org/name", DATA / "adapters" / "r8", "--model-path", "org/name",
                               HF_HUB_CACHE=str(tmp_path))
    assert model["path"] == str(snapshot) and model["would_load"] is True
    assert adapter["checked_against"] == "org/name" and adapter["would_load"] is True


def test_every_field_is_in_the_document(binary):
    fields = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "inspect.md").read_text()))
    adapter = DATA / "adapters" / "r8"
    for found in (inspect(binary, MODEL, adapter, "--model-path", MODEL, "--full")
                  + inspect(binary, adapter, "/dev/null")):
        assert set(found) <= fields


def test_wrong_flags_end_with_two_and_one_line(binary):
    for arguments in ([], ["--nonsense", MODEL], [MODEL, "--dtype", "int8"], [MODEL, "--model-path", "/nowhere"],
                      [MODEL, "--lora-target-modules", "qproj"], [MODEL, "--max-lora-rank", "0"]):
        done = run(binary, *arguments)
        assert done.returncode == 2 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("weft inspect: ")
