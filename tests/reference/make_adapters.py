"""Makes tests/data/adapters: LoRA adapters as PEFT saves them, with random weights, and what PEFT computes with them.

Run make_models.py first, then this with the Python of scripts/reference-environment. expected.json names the model
under tests/data/models that the adapter is for and holds, for three prompts, what make_models.py holds for a model,
with the adapter applied and not merged. It is computed from the files as saved.
"""

import json
import shutil
import warnings

import peft
import safetensors.torch
import torch
import transformers

import golden_numbers
import make_models

REPOSITORY = make_models.REPOSITORY
OUTPUT = REPOSITORY / "tests/data/adapters"

PROMPT_LENGTHS = (2, 17, 40)

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = ATTENTION + ["gate_proj", "up_proj", "down_proj"]

# How much of an output's size the adapter adds; a wrong scaling must show.
ADAPTER_SHARE = 0.6


class Adapter:
    """An adapter to make. `base` is a folder under tests/data/models; `written` is what to change in the config."""

    def __init__(self, base, dtype=torch.float32, written=None, **lora):
        self.base = base
        self.dtype = dtype
        self.written = written or {}
        self.lora = dict(task_type="CAUSAL_LM", lora_alpha=16, target_modules=ALL) | lora


ADAPTERS = {
    "r8": Adapter("llama", r=8),
    "rslora": Adapter("llama", r=16, lora_alpha=8, use_rslora=True, target_modules=ATTENTION),
    # A name, the end of a path, a pattern, and from the start of the path: the forms that PEFT matches. What no
    # pattern matches has r and lora_alpha.
    "patterns": Adapter(
        "llama", r=8,
        rank_pattern={"q_proj": 4, "layers.1.mlp.down_proj": 12, r"layers\.\d+\.self_attn\.o_proj": 2,
                      "^model.layers.0.self_attn.k_proj": 6},
        alpha_pattern={"v_proj": 32, "layers.0.mlp.up_proj": 4, "q_proj": 4}),
    "patterns-rslora": Adapter(
        "llama", r=8, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"], rank_pattern={"v_proj": 2},
        alpha_pattern={"down_proj": 4}),
    "regex": Adapter("llama", r=4, target_modules=r".*\.layers\.\d+\.(self_attn\.(q|v)_proj|mlp\.down_proj)"),
    # PEFT writes the names that "all-linear" stood for; other writers keep the word.
    "all-linear": Adapter("llama", r=4, target_modules="all-linear"),
    "all-linear-kept": Adapter("llama", r=4, target_modules="all-linear", written={"target_modules": "all-linear"}),
    "excluded": Adapter("llama", r=4, exclude_modules=["k_proj", "layers.1.mlp.up_proj"]),
    "one-layer": Adapter("llama", r=8, layers_to_transform=[1], layers_pattern="layers"),
    "one-layer-number": Adapter("llama", r=4, target_modules=["q_proj", "gate_proj"], layers_to_transform=0),
    "full-path": Adapter("llama", r=4, target_modules=["model.layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"]),
    # Says nothing about the file: A stays [r, in] and B [out, r]. PEFT sets it to false with a warning for nn.Linear.
    "fan-in-fan-out": Adapter("llama", r=4, target_modules=["q_proj", "up_proj"], written={"fan_in_fan_out": True}),
    "q-v-r16": Adapter("llama", r=16, target_modules=["q_proj", "v_proj"]),
    "r1": Adapter("llama", r=1, lora_alpha=2),
    "r3": Adapter("llama", r=3),
    "r40-float16": Adapter("llama", dtype=torch.float16, r=40, lora_alpha=80),
    "r20-bfloat16": Adapter("llama", dtype=torch.bfloat16, r=20, lora_alpha=10),
    "qwen3-r8": Adapter("qwen3", r=8),
    "qwen3-rslora-bfloat16": Adapter("qwen3", dtype=torch.bfloat16, r=24, use_rslora=True),
    # The base has biases; the adapter leaves them alone.
    "qwen2-r8": Adapter("qwen2", r=8, bias="none"),
    "mistral-r8-float16": Adapter("mistral", dtype=torch.float16, r=8),
    "llama-tied-r8": Adapter("llama-tied", dtype=torch.bfloat16, r=8),
    "smollm3-r4": Adapter("smollm3", dtype=torch.float16, r=4),
}


def load_base(name):
    model = make_models.load(make_models.OUTPUT / name)
    # What adapter_config.json will call it.
    model.name_or_path = model.config._name_or_path = f"tests/{name}"
    return model


def randomize(model, seed):
    """Gives every A and B random values, of a size that makes the adapter's part ADAPTER_SHARE of about 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, lora_a in getattr(module, "lora_A", {}).items():
                rank, inputs = lora_a.weight.shape
                lora_a.weight.normal_(std=inputs**-0.5, generator=generator)
                module.lora_B[name].weight.normal_(
                    std=ADAPTER_SHARE / (module.scaling[name] * rank**0.5), generator=generator)


def save(model, folder, dtype=torch.float32, written=None):
    """Saves as PEFT does, in `dtype`, then changes what `written` says in adapter_config.json."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()  # An empty model card.
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    safetensors.torch.save_file({name: tensor.to(dtype) for name, tensor in tensors.items()},
                                folder / "adapter_model.safetensors", metadata={"format": "pt"})
    change_config(folder, written or {})


def change_config(folder, written):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | written
    for key, value in config.items():
        # PEFT writes sets as they come.
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_expected(folder, base, seed):
    model = peft.PeftModel.from_pretrained(load_base(base), folder)
    model.eval()
    expected = golden_numbers.expected_prompts(model, make_models.VOCABULARY, PROMPT_LENGTHS, seed)
    with model.disable_adapter():
        change = min(float((golden_numbers.logprobs(model, prompt["ids"])[-1]
                            - torch.tensor(prompt["float32"]["last_logprobs"])).abs().max()) for prompt in expected)
    golden_numbers.write_json(folder / "expected.json", {
        "reference": f"torch {torch.__version__}, transformers {transformers.__version__}, PEFT {peft.__version__}, "
                     "eager attention, no KV cache, not merged",
        "base_model": base,
        "prompts": expected})
    print(f"{folder.relative_to(REPOSITORY)}: {sum(file.stat().st_size for file in folder.iterdir())} bytes, "
          f"changes log-probabilities by up to {change:.1f}")


def main():
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for seed, (name, adapter) in enumerate(ADAPTERS.items(), start=1000):
        model = peft.get_peft_model(load_base(adapter.base), peft.LoraConfig(**adapter.lora))
        randomize(model, seed)
        save(model, OUTPUT / name, adapter.dtype, adapter.written)
        write_expected(OUTPUT / name, adapter.base, seed)


if __name__ == "__main__":
    main()
