"""Makes tests/data/adapters-refused: adapters that Weft must refuse, each for one reason.

Run make_models.py first, then this with the Python of scripts/reference-environment. refused.json names for each folder
the model under tests/data/models that it is loaded with, and the reason in words. Where PEFT makes such adapters, PEFT
made it; damage is done to the files afterwards.
"""

import json
import shutil
import warnings

import peft
import safetensors.torch
import torch
import transformers

import make_models
from make_adapters import load_base, randomize, save

OUTPUT = make_models.REPOSITORY / "tests/data/adapters-refused"

# name -> {"base_model", "reason"}, in the order they were made.
refused = {}


def make(name, reason, base="llama", config=None, written=None, **lora):
    """Saves an adapter on q and v, changed by `lora`, by another PEFT `config`, or by what is `written` over it."""
    refused[name] = {"base_model": base, "reason": reason}
    config = config or peft.LoraConfig(
        **dict(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]) | lora)
    torch.manual_seed(len(refused))
    model = peft.get_peft_model(load_base(base), config)
    randomize(model, seed=len(refused))
    save(model, OUTPUT / name, torch.float32, written)
    return OUTPUT / name


def damage(folder, change):
    """Rewrites the adapter's tensors after `change` has altered the dictionary of them."""
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def tensor_name(layer, projection, half):
    return f"base_model.model.model.layers.{layer}.self_attn.{projection}.lora_{half}.weight"


def make_other_methods():
    """What PEFT can train and Weft cannot serve."""
    make("dora", "DoRA: use_dora is true and magnitude vectors are stored", use_dora=True)
    make("alora", "activated LoRA: alora_invocation_tokens is set", alora_invocation_tokens=[1, 2])
    make("lora-bias", "lora_bias is true: B has a bias", lora_bias=True)
    make("bias-all", "bias is 'all': the base model's biases are stored", base="qwen2", bias="all")
    make("bias-lora-only", "bias is 'lora_only': biases of the targets are stored", base="qwen2", bias="lora_only")
    make("modules-to-save", "modules_to_save: the whole of lm_head is stored", modules_to_save=["lm_head"])
    make("trained-token-rows", "trainable_token_indices: rows of the embedding are stored", trainable_token_indices=[1, 2])
    make("layer-replication", "layer_replication: the adapter has more layers than the model",
         layer_replication=[(0, 2), (1, 2)])
    make("qalora", "use_qalora: A works on pooled inputs", written={"use_qalora": True})
    make("target-parameters", "target_parameters: parameters that are not of a linear module", written={
        "target_parameters": ["mlp.experts.gate_up_proj"]})
    make("lora-on-lm-head", "lm_head is not one of the seven projections", target_modules=["q_proj", "lm_head"])
    make("lora-on-embedding", "embed_tokens is not one of the seven projections",
         target_modules=["q_proj", "embed_tokens"])
    make("ia3", "another PEFT method: IA3", config=peft.IA3Config(
        task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]))
    make("prompt-tuning", "another PEFT method: prompt tuning", config=peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=4))

    folder = make("trained-embedding", "the whole embedding is stored beside the adapter")
    embedding = load_base("llama").get_input_embeddings().weight.detach().to(torch.bfloat16)
    damage(folder, lambda tensors: tensors.update({"base_model.model.model.embed_tokens.weight": embedding}))


def make_bad_configs():
    make("rank-0", "r is 0", written={"r": 0})
    make("rank-negative-in-pattern", "rank_pattern states -2", written={"rank_pattern": {"q_proj": -2}})
    make("rank-is-text", "r is not a number", written={"r": "two"})
    make("rank-differs", "r is 4, the tensors have 2 rows", written={"r": 4})
    make("alpha-is-text", "lora_alpha is not a number", written={"lora_alpha": "x"})
    make("unknown-target", "target_modules names no module of the model", written={"target_modules": ["c_attn"]})
    make("bad-regex", "target_modules is no valid regular expression", written={"target_modules": "(q_proj"})
    make("layer-out-of-range", "layers_to_transform names layer 7 of 2", written={"layers_to_transform": [7]})
    make("other-model", "made for a model of another shape: each tensor of q_proj differs", base="qwen3")
    refused["other-model"]["base_model"] = "llama"

    folder = make("config-is-not-json", "adapter_config.json is cut off")
    text = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(text[: len(text) // 2])
    folder = make("config-is-missing", "there is no adapter_config.json")
    (folder / "adapter_config.json").unlink()
    folder = make("config-is-a-list", "adapter_config.json is not an object")
    (folder / "adapter_config.json").write_text("[]\n")


def make_bad_tensors():
    q_a, q_b = tensor_name(0, "q_proj", "A"), tensor_name(0, "q_proj", "B")

    def set_value(name, value):
        def change(tensors):
            tensors[name].view(-1)[3] = value
        return change

    damage(make("nan", f"{q_b} holds a NaN"), set_value(q_b, float("nan")))
    damage(make("infinity", f"{q_a} holds an infinity"), set_value(q_a, float("-inf")))
    damage(make("wrong-shape", f"{q_b} is transposed"), lambda tensors: tensors.update({q_b: tensors[q_b].T.contiguous()}))
    damage(make("wrong-dimensions", f"{q_a} has three dimensions"), lambda tensors: tensors.update({q_a: tensors[q_a][None]}))
    damage(make("missing-tensor", f"{q_b} is not there, its A is"), lambda tensors: tensors.pop(q_b))
    damage(make("missing-module", "layer 1 has no v_proj, which target_modules names"),
           lambda tensors: [tensors.pop(tensor_name(1, "v_proj", half)) for half in "AB"])
    damage(make("unexpected-tensor", "a tensor for layer 9 of 2"),
           lambda tensors: tensors.update({tensor_name(9, "q_proj", "A"): torch.ones(2, 64)}))
    damage(make("unexpected-name", "a tensor whose name is not a LoRA's"),
           lambda tensors: tensors.update({"something.else": torch.ones(2)}))
    damage(make("integers", f"{q_a} is stored as int32"),
           lambda tensors: tensors.update({q_a: tensors[q_a].to(torch.int32)}))
    damage(make("no-tensors", "the file holds no tensor"), lambda tensors: tensors.clear())

    folder = make("truncated", "adapter_model.safetensors is cut off within the tensors")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    folder = make("truncated-header", "adapter_model.safetensors is cut off within its header")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    folder = make("header-too-long", "adapter_model.safetensors states a header of 2^60 bytes")
    path = folder / "adapter_model.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + path.read_bytes()[8:])
    folder = make("weights-are-missing", "there is no adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    folder = make("pickle-only", "the weights are a pickle (adapter_model.bin), which can run code")
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def main():
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    make_other_methods()
    make_bad_configs()
    make_bad_tensors()
    (OUTPUT / "refused.json").write_text(json.dumps(refused, indent=2) + "\n")
    size = sum(file.stat().st_size for file in OUTPUT.rglob("*") if file.is_file())
    print(f"{OUTPUT.relative_to(make_models.REPOSITORY)}: {len(refused)} adapters, {size} bytes")


if __name__ == "__main__":
    main()
