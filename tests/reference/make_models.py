"""Makes tests/data/models: tiny random models of each architecture, saved by transformers, and what they compute.

Run with the Python of scripts/reference-environment. expected.json holds, for prompts of 1, 5, 17 and 40 tokens, all
log-probabilities after the last token and those of the prompt's own tokens in float32, the log-probabilities after the
last token in bfloat16, and 12 greedy tokens in float32. It is computed from the files as saved: a model stored in 16
bits is widened first.
"""

import json
import pathlib
import shutil

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import golden_numbers

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "tests/data/models"

PROMPT_LENGTHS = (1, 5, 17, 40)

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["e r", "i n", "o n", "h e", "t h", "a n", "Ġ t", "Ġ a", "Ġ Ġ", "Ġt he", "in g", "Ċ Ċ", "Ġa n"]
VOCABULARY = 256 + len(MERGES) + len(SPECIAL_TOKENS)
END_OF_TEXT, _, END_OF_TURN = range(VOCABULARY - len(SPECIAL_TOKENS), VOCABULARY)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

# Alike for all. Large enough weights that a wrong layer shows in the first digits, not the fifth.
BASE = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.2, bos_token_id=None,
            eos_token_id=END_OF_TEXT, pad_token_id=None, use_cache=True)

LLAMA = transformers.LlamaConfig(**BASE | dict(
    rms_norm_eps=1e-5,
    # Of the eight frequencies one is kept, one is between and six are scaled.
    rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 32}))

# name -> (config, stored as)
MODELS = {
    "llama": (LLAMA, torch.float32),
    # Three queries to a key, tied, as SmolLM2-135M.
    "llama-tied": (transformers.LlamaConfig(**BASE | dict(
        hidden_size=96, num_attention_heads=6, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0})), torch.bfloat16),
    "llama-bias": (transformers.LlamaConfig(**BASE | dict(
        attention_bias=True, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})),
        torch.float16),
    # One key for all queries; the head's size is stated and is not hidden size / heads.
    "mistral": (transformers.MistralConfig(**BASE | dict(
        num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=32, sliding_window=None,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})), torch.float16),
    "qwen2": (transformers.Qwen2Config(**BASE | dict(
        use_sliding_window=False, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})), torch.float32),
    "qwen3": (transformers.Qwen3Config(**BASE | dict(
        head_dim=32, use_sliding_window=False, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
        torch.bfloat16),
    # Layers 1 and 3 of four have no rotary embedding; tied.
    "smollm3": (transformers.SmolLM3Config(**BASE | dict(
        num_hidden_layers=4, no_rope_layers=[1, 0, 1, 0], tie_word_embeddings=True, use_sliding_window=False,
        rope_parameters={"rope_type": "default", "rope_theta": 5000000.0})), torch.bfloat16),
}


def tiny_tokenizer():
    """A byte-level BPE tokenizer with Qwen2's pattern, whose ids fill the models' vocabulary."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)},
                                     merges=[tuple(merge.split(" ")) for merge in MERGES]))
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL_TOKENS])
    assert tokenizer.get_vocab_size() == VOCABULARY
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE,
        model_max_length=BASE["max_position_embeddings"])


def random_model(config, seed):
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.5)
        model.get_output_embeddings().weight.normal_(std=0.4)
    model.generation_config = transformers.GenerationConfig(eos_token_id=[END_OF_TURN, END_OF_TEXT], do_sample=False)
    return model


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def write_expected(path, model, seed):
    expected = golden_numbers.expected_prompts(model, VOCABULARY, PROMPT_LENGTHS, seed)
    model.to(torch.bfloat16)
    for prompt in expected:
        prompt["bfloat16"] = {"last_logprobs": golden_numbers.rounded(golden_numbers.logprobs(model, prompt["ids"])[-1])}
    golden_numbers.write_json(path, {
        "reference": f"torch {torch.__version__}, transformers {transformers.__version__}, eager attention, no KV cache",
        "prompts": expected})
    leads = [prompt["greedy_lead"] for prompt in expected]
    print(f"{path.relative_to(REPOSITORY)}: smallest greedy lead {min(leads)}")


def transformers_4_config(folder):
    """The model's config.json with the keys that transformers 4 wrote."""
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["torch_dtype"] = config.pop("dtype")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope == {"rope_type": "default"} else rope
    config["transformers_version"] = "4.46.0"
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def save_sharded(folder, source):
    """`source` again in bfloat16, in several files with an index, and with the config.json of transformers 4."""
    load(source).to(torch.bfloat16).save_pretrained(folder, max_shard_size="64KB")
    (folder / "config.json").write_text(transformers_4_config(folder))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder / name)


def main():
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    tokenizer = tiny_tokenizer()
    for seed, (name, (config, dtype)) in enumerate(MODELS.items(), start=1):
        folder = OUTPUT / name
        random_model(config, seed).to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_expected(folder / "expected.json", load(folder), seed)
    (OUTPUT / "llama/config.transformers-4.json").write_text(transformers_4_config(OUTPUT / "llama"))
    save_sharded(OUTPUT / "llama-sharded", OUTPUT / "llama")
    write_expected(OUTPUT / "llama-sharded/expected.json", load(OUTPUT / "llama-sharded"), seed=100)


if __name__ == "__main__":
    main()
