"""Reads SmolLM2-135M-Instruct out of its GGUF file, for the references: weights widened to float32, and tokenizer.

The file comes with scripts/fetch-test-vocabularies. Its matrices are Q4_1, its embedding Q8_0 and its norms float32.
"""

import gguf
import torch
import transformers

from make_tokenizer_vectors import CACHE, tokenizer_of_gguf

PATH = CACHE / "models/smollm2.gguf"

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

# GGUF's names of the parts of a layer.
LAYER_PARTS = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
OUTER_PARTS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def name_in_transformers(name):
    part = name.removesuffix(".weight")
    if part in OUTER_PARTS:
        return OUTER_PARTS[part] + ".weight"
    _, layer, part = part.split(".")
    return f"model.layers.{layer}.{LAYER_PARTS[part]}.weight"


def unpermuted(weight, heads):
    """Undoes the order of rows that GGUF has for Llama's q and k: pairs of a rotation side by side, not half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def load_model():
    """Returns the model in float32 with eager attention."""
    reader = gguf.GGUFReader(PATH)

    def value(key):
        return reader.fields[key].contents()

    heads, kv_heads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=value("llama.vocab_size"), hidden_size=value("llama.embedding_length"),
        intermediate_size=value("llama.feed_forward_length"), num_hidden_layers=value("llama.block_count"),
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=value("llama.context_length"),
        rms_norm_eps=value("llama.attention.layer_norm_rms_epsilon"), tie_word_embeddings=True,
        bos_token_id=value("tokenizer.ggml.bos_token_id"), eos_token_id=value("tokenizer.ggml.eos_token_id"),
        rope_parameters={"rope_type": "default", "rope_theta": value("llama.rope.freq_base")})
    tensors = {}
    for tensor in reader.tensors:
        weight = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
        if tensor.name.endswith("attn_q.weight"):
            weight = unpermuted(weight, heads)
        elif tensor.name.endswith("attn_k.weight"):
            weight = unpermuted(weight, kv_heads)
        tensors[name_in_transformers(tensor.name)] = weight
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    model = model.to_empty(device="cpu")
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and missing == ["lm_head.weight"], (missing, unexpected)
    model.tie_weights()
    model.name_or_path = config._name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    return model.eval()


def load_tokenizer():
    return tokenizer_of_gguf(PATH)


def chat_prompt(question):
    """A question as the model's chat template renders it, up to where the assistant begins."""
    return (f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
            "<|im_start|>assistant\n")
