"""Makes tests/data/smollm2/expected.json: what SmolLM2-135M-Instruct answers, alone and with each of the demo's adapters.

Run scripts/fetch-test-vocabularies first, then this with the Python of scripts/reference-environment. The weights are
those of the GGUF file (Q4_1 and Q8_0) widened to float32, adapters are widened from what is stored, and all is computed
in float32 with eager attention and a KV cache: the numbers of a server that computes in bfloat16 differ in the second digit.
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
    tokens, leads, inputs, cache = [], [], ids, transformers.DynamicCache()
    first = None
    with torch.inference_mode():
        for _ in range(GREEDY_TOKENS):
            logits = model(input_ids=torch.tensor([inputs]), past_key_values=cache, use_cache=True).logits[0, -1]
            best = torch.topk(torch.log_softmax(logits, dim=-1), TOP)
            first = first or best
            tokens.append(int(best.indices[0]))
            leads.append(best.values[0] - best.values[1])
            inputs = tokens[-1:]
    return {"top_ids": first.indices.tolist(), "top_logprobs": golden_numbers.rounded(first.values), "greedy": tokens,
            "greedy_leads": golden_numbers.rounded(leads),
            "greedy_text": tokenizer.decode(tokens, skip_special_tokens=False)}


def main():
    tokenizer = smollm2.load_tokenizer()
    prompts = [tokenizer.encode(smollm2.chat_prompt(question), add_special_tokens=False).ids for question in QUESTIONS]
    base = smollm2.load_model()
    models = {"base": [answer(base, tokenizer, ids) for ids in prompts]}
    for folder in sorted(path.parent for path in ADAPTERS.glob("*/adapter_config.json")):
        model = peft.PeftModel.from_pretrained(base, folder).eval()
        models[folder.name] = [answer(model, tokenizer, ids) for ids in prompts]
        base = model.unload()
        print(f"{folder.name}: {models[folder.name][0]['greedy_text']!r}", flush=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    golden_numbers.write_json(OUTPUT / "expected.json", {
        "reference": f"torch {torch.__version__}, transformers {transformers.__version__}, PEFT {peft.__version__}, float32, "
                     "eager attention",
        "prompts": [{"question": question, "ids": ids} for question, ids in zip(QUESTIONS, prompts)],
        "answers": models})


if __name__ == "__main__":
    main()
