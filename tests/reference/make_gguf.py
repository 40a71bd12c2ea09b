"""Makes tests/data/gguf: models of tests/data/models as GGUF files, as llama.cpp's converter lays them out.

Needs only numpy and gguf of requirements.txt. The q and k rows of Llama models are permuted, as the converter's
LlamaModel.permute does; Llama 3.1's rope scaling becomes factors in rope_freqs.weight. llama.gguf holds the types that
gguf-py can make; llama-bias.gguf and qwen3.gguf are lossless, so what is read from them equals the safetensors file.
k-quants.gguf is a model of its own, of random blocks: Q4_K_M's types in its first layer, the other K-quants in its
second. `expected.json` has the FNV-1a hash of each tensor of llama.gguf and k-quants.gguf as gguf-py dequantizes it to
float32, rows back in Hugging Face's order; make_gguf_expected.py says what the latter computes.

blocks.gguf is no model: for each block type a tensor of its name with extreme scales, and one named NAME.float32 with
what gguf-py makes of it.
"""

import json
import math
import pathlib
import struct

import gguf
import numpy

import quantized_blocks

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "tests/data/models"
OUTPUT = REPOSITORY / "tests/data/gguf"

LAYER_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

# On matrices where it matters: permuted and not.
MIXED = {"token_embd": "Q8_0", "output": "Q4_1", "attn_q": "Q4_0", "attn_k": "Q4_1", "attn_v": "BF16",
         "attn_output": "F16", "ffn_gate": "Q4_0", "ffn_up": "Q4_1", "ffn_down": "Q8_0"}

# Sizes that differ from the model llama, whose tokenizer this one has. A row of attn_output and ffn_down is no multiple
# of 256: llama-quantize stores such tensors as Q5_0 instead of Q4_K, Q5_1 of Q5_K and Q8_0 of Q6_K.
K_QUANTS = {"hidden_size": 256, "intermediate_size": 64,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
K_QUANTS_TYPES = {
    "token_embd": "Q4_K", "output": "Q6_K",
    "blk.0.attn_q": "Q4_K", "blk.0.attn_k": "Q4_K", "blk.0.attn_v": "Q6_K", "blk.0.attn_output": "Q5_0",
    "blk.0.ffn_gate": "Q4_K", "blk.0.ffn_up": "Q4_K", "blk.0.ffn_down": "Q8_0",
    "blk.1.attn_q": "Q3_K", "blk.1.attn_k": "Q2_K", "blk.1.attn_v": "Q5_K", "blk.1.attn_output": "Q5_1",
    "blk.1.ffn_gate": "Q5_K", "blk.1.ffn_up": "Q3_K", "blk.1.ffn_down": "Q5_0"}


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in sorted(header.items()):
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            wide = numpy.frombuffer(data[begin:end], numpy.uint16).astype(numpy.uint32) << 16
            array = wide.view(numpy.float32)
        else:
            array = numpy.frombuffer(data[begin:end], {"F32": numpy.float32, "F16": numpy.float16}[entry["dtype"]])
        tensors[name] = array.astype(numpy.float32).reshape(entry["shape"])
    return tensors


def gguf_name(name):
    module, _, kind = name.rpartition(".")
    if module in NAMES:
        return f"{NAMES[module]}.{kind}"
    _, _, layer, rest = module.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}.{kind}"


def permute(array, heads):
    rows = array.shape[0]
    return array.reshape(heads, 2, rows // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def unpermute(array, heads):
    rows = array.shape[0]
    return array.reshape(heads, rows // heads // 2, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def rope_factors(head_dim, rope):
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"]**(i / head_dim)
        turns = rope["original_max_position_embeddings"] / wavelength
        smooth = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        smooth = min(max(smooth, 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return numpy.array(factors, numpy.float32)


def fnv1a(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return f"{value:016x}"


def write_metadata(writer, config):
    rope = config["rope_parameters"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def write_tokenizer(writer, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    tokens = {id: token for token, id in tokenizer["model"]["vocab"].items()} | added
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[id] for id in range(len(tokens))])
    writer.add_token_types([gguf.TokenType.CONTROL if id in added else gguf.TokenType.NORMAL
                            for id in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge
                             for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(269)
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())


def make(name, architecture, type_of):
    folder = MODELS / name
    config = json.loads((folder / "config.json").read_text())
    path = OUTPUT / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tests/{name}")
    write_metadata(writer, config)
    write_tokenizer(writer, folder)
    expected = {}
    if config["rope_parameters"]["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config["head_dim"], config["rope_parameters"]))
    for theirs, array in read_safetensors(folder / "model.safetensors").items():
        ours = gguf_name(theirs)
        heads = {"q_proj": config["num_attention_heads"],
                 "k_proj": config["num_key_value_heads"]}.get(theirs.split(".")[-2])
        permuted = architecture == "llama" and heads
        if permuted:
            array = permute(array, heads)
        kind = type_of(ours) if array.ndim == 2 else "F32"
        stored = gguf.quants.quantize(numpy.ascontiguousarray(array), gguf.GGMLQuantizationType[kind])
        writer.add_tensor(ours, stored, raw_dtype=gguf.GGMLQuantizationType[kind])
        read = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind]).reshape(array.shape)
        if permuted:
            read = unpermute(read, heads)
        expected[theirs] = fnv1a(numpy.ascontiguousarray(read, numpy.float32).tobytes())
    finish(writer)
    return expected


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_k_quants():
    folder = MODELS / "llama"
    config = json.loads((folder / "config.json").read_text()) | K_QUANTS
    generator = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(OUTPUT / "k-quants.gguf", "llama")
    writer.add_name("tests/k-quants")
    write_metadata(writer, config)
    write_tokenizer(writer, folder)
    expected = {}
    for theirs, shape in shapes(config):
        ours = gguf_name(theirs)
        if len(shape) == 1:
            array = generator.uniform(0.5, 1.5, shape).astype(numpy.float32)
            writer.add_tensor(ours, array)
        else:
            kind = K_QUANTS_TYPES[ours.removesuffix(".weight")]
            # Large enough that a wrong tensor shows in what the model computes.
            deviation = 1.6 / math.sqrt(shape[1])
            stored = quantized_blocks.random_weights(kind, *shape, deviation, generator)
            writer.add_tensor(ours, stored, raw_dtype=gguf.GGMLQuantizationType[kind])
            array = quantized_blocks.dequantize(kind, stored)
            assert abs(array.std() / deviation - 1) < 0.1
            heads = {"q_proj": config["num_attention_heads"],
                     "k_proj": config["num_key_value_heads"]}.get(theirs.split(".")[-2])
            if heads:
                array = unpermute(array, heads)
        expected[theirs] = fnv1a(numpy.ascontiguousarray(array).tobytes())
    finish(writer)
    return expected


def shapes(config):
    """The tensors of a Llama model."""
    hidden, intermediate, vocabulary = (config[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    queries, keys = (config[key] * config["head_dim"] for key in ("num_attention_heads", "num_key_value_heads"))
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "self_attn.q_proj.weight", (queries, hidden)
        yield prefix + "self_attn.k_proj.weight", (keys, hidden)
        yield prefix + "self_attn.v_proj.weight", (keys, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, queries)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "mlp.gate_proj.weight", (intermediate, hidden)
        yield prefix + "mlp.up_proj.weight", (intermediate, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def make_blocks():
    generator = numpy.random.default_rng(2)
    writer = gguf.GGUFWriter(OUTPUT / "blocks.gguf", "blocks")
    for kind in quantized_blocks.HALVES:
        blocks = quantized_blocks.extreme_blocks(kind, generator)
        writer.add_tensor(kind, blocks, raw_dtype=gguf.GGMLQuantizationType[kind])
        writer.add_tensor(f"{kind}.float32", quantized_blocks.dequantize(kind, blocks))
    finish(writer)


def main():
    OUTPUT.mkdir(exist_ok=True)
    expected = {"llama": make("llama", "llama", lambda name: MIXED[name.split(".")[-2]])}
    make("llama-bias", "llama", lambda name: "F16")
    make("qwen3", "qwen3", lambda name: "BF16")
    expected["k-quants"] = make_k_quants()
    (OUTPUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    make_blocks()


if __name__ == "__main__":
    main()
