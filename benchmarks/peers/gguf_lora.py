"""Writes a PEFT adapter as llama.cpp's LoRA GGUF, with the standard library alone.

The same file as llama.cpp's convert_lora_to_gguf.py makes (whose imports are PyTorch and transformers) of an adapter on the
projections of a Llama model: the elements stay as they are, and the rows of B of q and k are put in the order of
llama.cpp's rope, which turns neighbouring elements where Hugging Face's turns the two halves of a head.
"""

import json
import re
import struct

_ALIGNMENT = 32
_STRING, _FLOAT32 = 8, 6
_TENSOR_TYPES = {"F32": (0, 4), "F16": (1, 2), "BF16": (30, 2)}
_MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.([\w.]+)\.lora_([AB])\.weight")


def _string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _pad(data):
    return data + bytes(-len(data) % _ALIGNMENT)


def interleave_halves(rows, head_dim):
    """The rows of a matrix of several heads, each head's from (half, i) to (i, half)."""
    half = head_dim // 2
    return [rows[head + s * half + i] for head in range(0, len(rows), head_dim) for i in range(half) for s in (0, 1)]


def _tensors(folder, head_dim):
    """(GGUF's name, type, shape in row-major order, data) of each tensor."""
    with (folder / "adapter_model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    for name, entry in header.items():
        match = _NAME.fullmatch(name)
        if not match or match[2] not in _MODULES or entry["dtype"] not in _TENSOR_TYPES:
            raise ValueError(f"{folder}: {name} ({entry['dtype']}) is no LoRA of a Llama model's projection")
        begin, end = entry["data_offsets"]
        values = data[begin:end]
        kind, element_bytes = _TENSOR_TYPES[entry["dtype"]]
        if match[3] == "B" and match[2] in ("self_attn.q_proj", "self_attn.k_proj"):
            row_bytes = entry["shape"][1] * element_bytes
            rows = [values[i : i + row_bytes] for i in range(0, len(values), row_bytes)]
            values = b"".join(interleave_halves(rows, head_dim))
        yield f"blk.{match[1]}.{_MODULES[match[2]]}.weight.lora_{match[3].lower()}", kind, entry["shape"], values


def write(folder, target, head_dim):
    """`folder` is an adapter that PEFT or `weft make adapter` wrote, `target` the GGUF to make."""
    config = json.loads((folder / "adapter_config.json").read_text())
    metadata = [
        _string("general.architecture") + struct.pack("<I", _STRING) + _string("llama"),
        _string("general.type") + struct.pack("<I", _STRING) + _string("adapter"),
        _string("adapter.type") + struct.pack("<I", _STRING) + _string("lora"),
        _string("adapter.lora.alpha") + struct.pack("<If", _FLOAT32, config["lora_alpha"]),
    ]
    infos, parts, offset = [], [], 0
    for name, kind, shape, values in _tensors(folder, head_dim):
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        infos.append(_string(name) + sizes + struct.pack("<IQ", kind, offset))
        parts.append(_pad(values))
        offset += len(parts[-1])
    front = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(metadata)) + b"".join(metadata + infos)
    part = target.with_name(target.name + ".part")
    part.write_bytes(_pad(front) + b"".join(parts))
    part.rename(target)
