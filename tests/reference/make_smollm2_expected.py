"""Makes tests/data/smollm2/expected.json: what SmolLM2-135M-Instruct answers, alone and with each of the demo's adapters.

Run scripts/fetch-test-vocabularies first, then this with the Python of scripts/reference-environment. The weights are
those of the GGUF file (Q4_1 and Q8_0) widened to float32, adapters are widened from what is stored, and all is computed
in float32 with eager attention: the numbers of a server that computes in bfloat16 differ in the second digit.
"""

import pathlib

import peft
import torch
import transformers

import golden_numbers
import smollm2

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ADAPTERS = REPOSITORY / "demo/adapters"
OUTPUT = REPOSITORY / "tests/data/smollm2"

QUESTIONS = ["What is the capital of Italy?", "How do I make coffee?", "What is a horse?"]
TOP = 20
GREEDY_TOKENS = 24


def answer(model, tokenizer, ids):
    best = torch.topk(golden_numbers.logprobs(model, ids)[-1], TOP)
    tokens, lead = golden_numbers.greedy(model, ids, GREEDY_TOKENS)
    return {"top_ids": best.indices.tolist(), "top_logprobs": golden_numbers.rounded(best.values),
            "greedy": tokens, "greedy_lead": lead, "greedy_text": tokenizer.decode(tokens, skip_special_tokens=False)}


def main():
    tokenizer = smollm2.load_tokenizer()
    prompts = [tokenizer.encode(smollm2.chat_prompt(question), add_special_tokens=False).ids for question in QUESTIONS]
    models = {"base": []}
    base = smollm2.load_model()
    models["base"] = [answer(base, tokenizer, ids) for ids in prompts]
    for folder in sorted(path.parent for path in ADAPTERS.glob("*/adapter_config.json")):
        # A fresh base: unloading an adapter leaves the base as it was, but proving that is not the point here.
        model = peft.PeftModel.from_pretrained(smollm2.load_model(), folder).eval()
        models[folder.name] = [answer(model, tokenizer, ids) for ids in prompts]
        print(f"{folder.name}: {models[folder.name][0]['greedy_text']!r}", flush=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    golden_numbers.write_json(OUTPUT / "expected.json", {
        "reference": f"torch {torch.__version__}, transformers {transformers.__version__}, PEFT {peft.__version__}, float32, "
                     "eager attention, no KV cache",
        "prompts": [{"question": question, "ids": ids} for question, ids in zip(QUESTIONS, prompts)],
        "answers": models})


if __name__ == "__main__":
    main()
