"""What the references compute for a model, as the expected.json files state it.

All numbers are for one sequence at a time, with eager attention and no KV cache, so that nothing but the model's own
arithmetic is in them.
"""

import json

import torch

# So that a run on another machine gives the same sums.
torch.set_num_threads(1)

GREEDY_TOKENS = 12
SMALLEST_GREEDY_LEAD = 0.05


def logprobs(model, ids):
    """Log-probabilities [len(ids), vocabulary] of the token after each of `ids`, in float32."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def rounded(values):
    return [round(float(value), 6) for value in values]


def prompt_logprobs(rows, ids):
    """The log-probability of each prompt token but the first, given those before it."""
    return rounded(rows[index, token] for index, token in enumerate(ids[1:]))


def greedy(model, ids, count=GREEDY_TOKENS):
    """Returns the `count` likeliest tokens, end-of-text or not, and the smallest lead one had over the second."""
    tokens, lead = [], float("inf")
    for _ in range(count):
        best = torch.topk(logprobs(model, ids + tokens)[-1], 2)
        tokens.append(int(best.indices[0]))
        lead = min(lead, float(best.values[0] - best.values[1]))
    return tokens, round(lead, 6)


def expected_prompts(model, vocabulary, lengths, seed):
    """Random prompts of these lengths, each with what a float32 model makes of it.

    A prompt where the second likeliest token comes close to the first is drawn again, so that a test of greedy tokens
    does not hang on the last bits of a sum.
    """
    generator = torch.Generator().manual_seed(seed)
    expected = []
    for length in lengths:
        lead = 0.0
        while lead < SMALLEST_GREEDY_LEAD:
            ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
            tokens, lead = greedy(model, ids)
        rows = logprobs(model, ids)
        expected.append({
            "ids": ids,
            "float32": {"prompt_logprobs": prompt_logprobs(rows, ids), "last_logprobs": rounded(rows[-1])},
            "greedy": tokens,
            "greedy_lead": lead})
    return expected


def write_json(path, document):
    """Writes JSON with one line for each innermost list or number, so that a diff of it can be read."""

    def text(value, indent):
        inner = "\n" + "  " * (indent + 1)
        if isinstance(value, dict):
            body = ("," + inner).join(f"{json.dumps(key)}: {text(item, indent + 1)}" for key, item in value.items())
            return "{" + inner + body + "\n" + "  " * indent + "}"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[" + inner + ("," + inner).join(text(item, indent + 1) for item in value) + "\n" + "  " * indent + "]"
        return json.dumps(value)

    path.write_text(text(document, 0) + "\n")
