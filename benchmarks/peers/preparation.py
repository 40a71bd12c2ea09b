"""What the comparison needs outside the repository: llama.cpp, the model in bf16, the adapters for both servers."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib

import gguf_lora

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("WEFT_CACHE", pathlib.Path.home() / ".cache/weft")) / "peers"
WEFT = REPOSITORY / "build/src/cli/weft"
STEP_SPEED = REPOSITORY / "build/benchmarks/weft_step_speed"
LLAMA_BIN = CACHE / "build/bin"
BF16_MODEL = CACHE / "models/smollm2-135m-instruct-bf16.gguf"
HEAD_DIM = 64  # Of SmolLM2-135M.
ADAPTER_SCALE = 0.5  # Of `weft make adapter`: each adapter's answer differs from the base's, so a wrong one is seen.

# An sdist brings llama.cpp's sources as they were at its commit 0c1e570.
_REQUIREMENT = "llama-cpp-python==0.3.36"
_SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_TARGETS = ("llama-bench", "llama-batched-bench", "llama-server", "llama-quantize")
_CMAKE_FLAGS = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF"),
    "-DGGML_NATIVE=ON",  # Every instruction of this machine, AVX512-BF16 among them.
    *("-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_OPENSSL=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"),
)


def say(text):
    print(f"peers: {text}", flush=True)


def _run(*command, log="prepare.log"):
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / log
    with path.open("a") as output:
        print("$", *command, file=output, flush=True)
        if subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode:
            tail = "\n".join("  " + line for line in path.read_text(errors="replace").splitlines()[-25:])
            sys.exit(f"peers: {command[0]} failed; the last lines of {path}:\n{tail}")


def _sources():
    """The folder of llama.cpp's sources, fetched where they are missing."""
    folder = CACHE / _REQUIREMENT.replace("==", "-").replace("-cpp-python", "_cpp_python") / "vendor/llama.cpp"
    if (folder / "CMakeLists.txt").exists():
        return folder
    say(f"fetching {_REQUIREMENT} from PyPI")
    requirements = CACHE / "requirements.txt"
    requirements.parent.mkdir(parents=True, exist_ok=True)
    requirements.write_text(f"{_REQUIREMENT} --hash=sha256:{_SDIST_SHA256}\n")
    pip = ("/usr/bin/python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    _run(*pip, "--require-hashes", "--no-binary", "llama-cpp-python", "--requirement", requirements, "--dest", CACHE)
    part = CACHE / "sources.part"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(next(CACHE.glob("llama_cpp_python-*.tar.gz"))) as archive:
        archive.extractall(part)
    next(part.iterdir()).rename(folder.parents[1])
    part.rmdir()
    return folder


def _build_llama():
    sources = _sources()
    if not all((LLAMA_BIN / target).exists() for target in _TARGETS):
        say("building llama.cpp (ten minutes of two cores)")
        _run("cmake", "-S", sources, "-B", LLAMA_BIN.parent, *_CMAKE_FLAGS)
        _run("nice", "ninja", "-C", LLAMA_BIN.parent, "-j", os.cpu_count() or 1, *_TARGETS)


def demo_model():
    """The Q4_1 GGUF that the demo serves."""
    fetch = REPOSITORY / "scripts/fetch-demo-model"
    return pathlib.Path(subprocess.run([fetch], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def _convert_model():
    """Dequantizes: both servers then read the same bf16 file, and have the same weights."""
    if BF16_MODEL.exists():
        return
    say(f"making {BF16_MODEL}")
    BF16_MODEL.parent.mkdir(parents=True, exist_ok=True)
    part = BF16_MODEL.with_suffix(".part")
    _run(LLAMA_BIN / "llama-quantize", "--allow-requantize", demo_model(), part, "BF16")
    part.rename(BF16_MODEL)


def workload_file(name):
    return REPOSITORY / f"benchmarks/workloads/{name}.toml"


def adapters(workload):
    """(name, PEFT folder) of each adapter of a workload."""
    groups = tomllib.loads(workload_file(workload).read_text())["adapters"]
    return [(f"{g['name']}-{i}", CACHE / f"adapters/{g['name']}/{g['name']}-{i}") for g in groups for i in range(g["count"])]


def _make_adapters(workload, gguf):
    for group in tomllib.loads(workload_file(workload).read_text())["adapters"]:
        folder = CACHE / f"adapters/{group['name']}"
        if folder.exists():
            continue
        say(f"making {folder}")
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        flags = [word for key in ("rank", "alpha", "dtype", "count", "name") for word in (f"--{key}", group[key])]
        _run(WEFT, "make", "adapter", part, "--model", BF16_MODEL, "--scale", ADAPTER_SCALE, *flags)
        if gguf:
            for peft in sorted(part.iterdir()):
                gguf_lora.write(peft, peft / "adapter.gguf", HEAD_DIM)
        part.rename(folder)


def prepare():
    for binary, target in ((WEFT, "weft"), (STEP_SPEED, "weft_step_speed")):
        if not binary.exists():
            sys.exit(
                f"peers: {binary} is missing: cmake --preset release -DWEFT_BUILD_BENCHMARKS=ON && ninja -C build {target}"
            )
    _build_llama()
    _convert_model()
    _make_adapters("w8-burst", gguf=True)
    _make_adapters("w9-2", gguf=False)
    say(f"all there, in {CACHE}")
