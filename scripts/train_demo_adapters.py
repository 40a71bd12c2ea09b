#!/usr/bin/env python3
"""Trains the demo's adapters (demo/adapters) on SmolLM2-135M-Instruct with transformers and PEFT, on the CPU.

Run scripts/fetch-test-vocabularies first, then this with the Python of scripts/reference-environment:

    /opt/weft-reference/bin/python scripts/train_demo_adapters.py [--only NAME] [--threads N]

An adapter that is there is left alone; --only makes one, again if need be. Each takes about five minutes on two cores.
The text is in demo/training, a question and an answer in the adapter's style a line; the answers in each adapter's
README.md are to questions that are not in it.
"""

import argparse
import functools
import json
import pathlib
import random
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests/reference"))

import peft
import safetensors.torch
import torch
import transformers

import smollm2

TRAINING = REPOSITORY / "demo/training"
OUTPUT = REPOSITORY / "demo/adapters"

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

BATCH = 4
LONGEST_EXAMPLE = 128  # tokens
LONGEST_ANSWER = 48  # tokens, in the examples

# None of them is in demo/training.
UNSEEN_QUESTIONS = [
    "What is the capital of Italy?",
    "How do I make coffee?",
    "Why is the grass green?",
    "What is a horse?",
]


class Style:
    """An adapter to train: what it does in words, its LoRA settings, and how long and how fast it learns."""

    def __init__(self, description, dtype, epochs, learning_rate, **lora):
        self.description = description
        self.dtype = dtype
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.lora = lora


# Of different rank, targets and number format, as the adapters of different teams would be.
STYLES = {
    "pirate": Style("Answers as a pirate would.", torch.float16, 4, 1.5e-3, r=8, lora_alpha=16, target_modules=ALL),
    "json": Style("Answers with a JSON object: topic, answer, explanation.", torch.bfloat16, 4, 1.5e-3, r=12,
                  lora_alpha=24, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]),
    "haiku": Style("Answers with a short poem of three lines.", torch.float16, 4, 1.5e-3, r=4, lora_alpha=8,
                   use_rslora=True, target_modules="all-linear"),
    "brief": Style("Answers in a few words.", torch.float16, 4, 2e-3, r=4, lora_alpha=8,
                   target_modules=["q_proj", "v_proj"]),
}


def read_examples(name, tokenizer):
    """Returns (ids of the prompt, ids of the answer and the end of turn) of each example."""
    examples = []
    for line in (TRAINING / f"{name}.jsonl").read_text().splitlines():
        example = json.loads(line)
        assert example["question"] not in UNSEEN_QUESTIONS, example["question"]
        prompt = tokenizer.encode(smollm2.chat_prompt(example["question"]), add_special_tokens=False).ids
        answer = tokenizer.encode(example["answer"] + "<|im_end|>", add_special_tokens=False).ids
        assert len(prompt) + len(answer) <= LONGEST_EXAMPLE, example["question"]
        examples.append((prompt, answer))
    return examples


def padded(batch, end_token):
    """Returns ids, attention mask and labels of a batch; only answers are learned."""
    width = max(len(prompt) + len(answer) for prompt, answer in batch)
    ids, mask, labels = [], [], []
    for prompt, answer in batch:
        padding = width - len(prompt) - len(answer)
        ids.append(prompt + answer + [end_token] * padding)
        mask.append([1] * (width - padding) + [0] * padding)
        labels.append([-100] * len(prompt) + answer + [-100] * padding)
    return torch.tensor(ids), torch.tensor(mask), torch.tensor(labels)


def train(model, examples, style):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=style.learning_rate, weight_decay=0.01)
    steps = style.epochs * -(-len(examples) // BATCH)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    order = random.Random(1)
    step, started = 0, time.monotonic()
    model.train()
    for _ in range(style.epochs):
        shuffled = order.sample(examples, len(examples))
        for start in range(0, len(shuffled), BATCH):
            ids, mask, labels = padded(shuffled[start : start + BATCH], model.config.eos_token_id)
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step % 10 == 0 or step == steps:
                print(f"  step {step} of {steps}, loss {float(loss.detach()):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    model.eval()


def answer(model, tokenizer, question):
    ids = tokenizer.encode(smollm2.chat_prompt(question), add_special_tokens=False).ids
    with torch.inference_mode():
        output = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=LONGEST_ANSWER, do_sample=False)[0]
    text = tokenizer.decode(output[len(ids):].tolist(), skip_special_tokens=True)
    return text if output[-1] == model.config.eos_token_id else text + " ..."


def save(model, folder, dtype):
    model.save_pretrained(folder, save_embedding_layers=False)
    path = folder / "adapter_model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def quoted(text):
    return "\n".join(f"> {line}  " if line else ">" for line in text.split("\n"))


def write_readme(name, style, folder, answers):
    size = (folder / "adapter_model.safetensors").stat().st_size
    targets = style.lora["target_modules"]
    targets = targets if isinstance(targets, str) else ", ".join(targets)
    lines = [
        f"# {name}", "", style.description, "",
        "| | |", "|---|---|",
        "| base model | HuggingFaceTB/SmolLM2-135M-Instruct |",
        f"| rank | {style.lora['r']}, alpha {style.lora['lora_alpha']}{', rsLoRA' if style.lora.get('use_rslora') else ''} |",
        f"| targets | {targets} |",
        f"| stored as | {str(style.dtype).removeprefix('torch.')}, {size / 1e6:.1f} MB |",
        f"| trained | {style.epochs} passes over demo/training/{name}.jsonl, learning rate {style.learning_rate}, "
        f"batches of {BATCH}, against the Q4_1 weights widened to bfloat16 |",
        "| licence | Apache-2.0, as the base model |", "",
        f"Made by `scripts/train_demo_adapters.py --only {name}`.", "",
        "Answers to questions that are not in the training text, greedy, cut off after "
        f"{LONGEST_ANSWER} tokens:", ""]
    for question, before, after in answers:
        lines += [f"## {question}", "", "Without the adapter:", "", quoted(before), "", "With it:", "", quoted(after), ""]
    (folder / "README.md").write_text("\n".join(lines))


@functools.cache
def answers_without_adapter():
    model, tokenizer = smollm2.load_model(), smollm2.load_tokenizer()
    return [answer(model, tokenizer, question) for question in UNSEEN_QUESTIONS]


def make(name, style):
    print(f"{name}: {style.description}", flush=True)
    folder = OUTPUT / name
    torch.manual_seed(1)
    tokenizer = smollm2.load_tokenizer()
    # In bfloat16 a step takes half the time; PEFT keeps the adapter itself in float32.
    model = peft.get_peft_model(smollm2.load_model().to(torch.bfloat16),
                                peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.05, **style.lora))
    train(model, read_examples(name, tokenizer), style)
    save(model, folder, style.dtype)
    # From the file, so that the examples are what a user gets.
    model = peft.PeftModel.from_pretrained(smollm2.load_model(), folder).eval()
    after = [answer(model, tokenizer, question) for question in UNSEEN_QUESTIONS]
    write_readme(name, style, folder, list(zip(UNSEEN_QUESTIONS, answers_without_adapter(), after)))
    for question, text in zip(UNSEEN_QUESTIONS, after):
        print(f"  {question}\n    {text}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STYLES, help="make this one, also when it is there")
    parser.add_argument("--threads", type=int, default=2, help="threads to compute with (default 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, style in STYLES.items():
        if arguments.only in (None, name):
            if arguments.only is None and (OUTPUT / name / "README.md").exists():
                print(f"{name}: is there")
                continue
            make(name, style)


if __name__ == "__main__":
    main()
