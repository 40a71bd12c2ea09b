"""Makes tests/corpus/checkpoint_*: seeds for the fuzz targets of src/checkpoint, from tests/data. Needs no packages."""

import json
import math
import pathlib
import struct

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests/data"
CORPUS = REPOSITORY / "tests/corpus"


def seed(target, name, data):
    folder = CORPUS / f"checkpoint_{target}_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def header_of(path):
    """The JSON of a safetensors file's header, and how many bytes follow it."""
    data = path.read_bytes()
    if len(data) < 8:
        return None
    length = struct.unpack("<Q", data[:8])[0]
    if length > len(data):
        return None
    return data[8:8 + length], len(data) - 8 - length


def gguf_string(text):
    return struct.pack("<Q", len(text)) + text.encode()


# Types of tensors by their numbers: elements and bytes of a block.
GGUF_TYPES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
              11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2)}


def small_gguf(tensors):
    """A file of every kind of value and these tensors (name, sizes, type); no model, but a few hundred bytes."""
    values = [("general.architecture", 8, gguf_string("llama"))]
    for key, number in [("embedding_length", 64), ("feed_forward_length", 96), ("block_count", 2),
                        ("attention.head_count", 4), ("attention.head_count_kv", 2), ("context_length", 256)]:
        values.append((f"llama.{key}", 4, struct.pack("<I", number)))
    values += [
        ("llama.rope.freq_base", 6, struct.pack("<f", 10000)), ("a", 0, b"\x01"), ("b", 1, b"\xff"),
        ("c", 2, b"\x01\x00"), ("d", 3, b"\xff\xff"), ("e", 5, struct.pack("<i", -1)), ("f", 7, b"\x01"),
        ("g", 10, struct.pack("<Q", 5)), ("h", 11, struct.pack("<q", -5)), ("i", 12, struct.pack("<d", 0.5)),
        ("general.alignment", 4, struct.pack("<I", 32)), ("tokenizer.ggml.model", 8, gguf_string("gpt2")),
        ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + gguf_string("a") + gguf_string("b")),
        ("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, 2) + struct.pack("<ii", 1, 3)),
        ("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 2) + struct.pack("<ff", 0, 1)),
        ("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 1))]
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, kind, value in values:
        data += gguf_string(key) + struct.pack("<I", kind) + value
    offset = 0
    for name, sizes, kind in tensors:
        data += gguf_string(name) + struct.pack("<I", len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
        data += struct.pack("<IQ", kind, offset)
        elements, size = GGUF_TYPES[kind]
        offset += -(math.prod(sizes) // elements * size // -32) * 32
    data += b"\0" * (-len(data) % 32)
    return data + bytes(index % 251 for index in range(offset))


def main():
    for model in sorted((DATA / "models").iterdir()):
        config = json.dumps(json.loads((model / "config.json").read_text())).encode()
        generation = json.dumps(json.loads((model / "generation_config.json").read_text())).encode()
        seed("config", model.name, config + b"\0" + generation)
    for folder in sorted((DATA / "adapters").iterdir()) + sorted((DATA / "adapters-refused").iterdir()):
        weights = folder / "adapter_model.safetensors"
        if not weights.exists() or not header_of(weights):
            continue
        header, data_bytes = header_of(weights)
        if folder.name in ("r8", "patterns", "qwen3-r8", "integers", "wrong-dimensions", "no-tensors"):
            seed("safetensors", folder.name, struct.pack("<H", data_bytes % 65536) + header)
        config = folder / "adapter_config.json"
        if config.exists():
            seed("adapter", folder.name, config.read_bytes() + b"\0" + header)
    seed("gguf", "small", small_gguf([("token_embd.weight", (64, 2), 8), ("output_norm.weight", (64,), 0)]))
    seed("gguf", "types", small_gguf([(f"t{kind}", (256,), kind) for kind in GGUF_TYPES]))
    seed("gguf", "row-of-half-a-block", small_gguf([("token_embd.weight", (128, 2), 12)]))


if __name__ == "__main__":
    main()
