"""Makes torch import without CUDA: small libraries that stand in for NVIDIA's.

The wheel of torch that PyPI serves is linked against about twenty CUDA libraries. The references run on the CPU only,
so each of those libraries is replaced by one that defines the needed symbols and whose functions answer "no device".
That saves gigabytes, and gives the same environment with and without a CUDA toolkit.

Usage: stub_cuda.py TORCH_LIB_FOLDER
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

# Part of every Linux system, or of the wheel itself.
SYSTEM_LIBRARY = re.compile(r"^(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libgomp|ld-linux-x86-64)\.so")

NVIDIA_SYMBOL = re.compile(r"^(__cuda|cu[A-Zdbfnpsr]|nccl|nvrtc|nvshmem|nvtx|nvJit)")

NO_DEVICE = 100  # cudaErrorNoDevice and CUDA_ERROR_NO_DEVICE


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_libraries(library):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "-dW", library))


def dynamic_symbols(library):
    """Yields (name, version or "", is it defined here) of each dynamic symbol."""
    for line in output_of("readelf", "--dyn-syms", "-W", library).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        name, _, version = fields[7].replace("@@", "@").partition("@")
        yield name, version, fields[6] != "UND"


def main():
    folder = pathlib.Path(sys.argv[1])
    libraries = sorted(folder.glob("*.so*"))
    own = {library.name for library in libraries}
    missing = sorted({name for library in libraries for name in needed_libraries(library)
                      if name not in own and not SYSTEM_LIBRARY.match(name)})
    if not missing:
        print(f"{folder}: nothing is missing")
        return

    defined, undefined = set(), {}
    for library in libraries:
        for name, version, is_defined in dynamic_symbols(library):
            if is_defined:
                defined.add(name)
            else:
                undefined[name] = version
    wanted = collections.defaultdict(list)
    for name, version in sorted(undefined.items()):
        if name not in defined and NVIDIA_SYMBOL.match(name):
            wanted[version].append(name)

    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch, "stub.c")
        versions = pathlib.Path(scratch, "stub.map")
        source.write_text("".join(
            f'const char* {name}(void) {{ return "this environment has no CUDA"; }}\n'
            if re.search(r"Error_?(String|Name)$", name) else f"int {name}(void) {{ return {NO_DEVICE}; }}\n"
            for names in wanted.values() for name in names))
        versions.write_text("".join(
            f"{version} {{ global: {'; '.join(names)}; }};\n" for version, names in wanted.items() if version))
        for soname in missing:
            subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{soname}",
                            f"-Wl,--version-script={versions}", "-o", folder / soname, source], check=True)
            print(f"{folder / soname}: stub")


if __name__ == "__main__":
    main()
