"""Makes tests/data/tokenizer/small/*: tiny tokenizers of every kind that Weft reads, and what `tokenizers` makes of nasty
text with each. They let the unit tests run without fetching anything.

Run with the Python of scripts/reference-environment. `NAME.json` is a tokenizer.json, `NAME.vectors.json` a list as in
make_tokenizer_vectors.py with "with_special" (ids with the post-processor's tokens) beside "ids".
"""

import base64
import json
import pathlib
import random

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

import nasty_text

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "tests/data/tokenizer/small"
SEED = 20261122

LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")

TRAINING_TEXT = [
    "The weaver passes the weft through the warp, and the weft isn't seen until the cloth is done.",
    "One base model, very many adapters: each brought in while the others are being served!",
    "It's 12 o'clock; we've 345 threads, they'll need 6789 more. I'M SURE YOU'RE READY.",
    "  for (int i = 0; i < 10; ++i) {\n\treturn x[i] == 'a' && y != \"b\";\n  }\r\n\r\n",
    "Größe, naïve café, Ελληνικά, Кириллица, 日本語の文章, 한국어, العربية, हिन्दी 🙂🙃",
    "aaaa aaaaaaaa bbbb hello hello world world the the the  two  spaces   three",
]
SPECIAL = ["<|begin|>", "<|end|>", "<|im_start|>"]


def byte_level_trainer(size=420):
    return trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                               show_progress=False)


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    return tokenizer


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, byte_level_trainer())
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B",
                                      special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))])])
    return tokenizer


def qwen2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, byte_level_trainer())
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken("café", normalized=True), AddedToken("<tool>", normalized=False)])
    return tokenizer


def gpt2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, byte_level_trainer())
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken("LEFT", lstrip=True), AddedToken("RIGHT", rstrip=True),
                          AddedToken("BOTH", lstrip=True, rstrip=True), AddedToken("WORD", single_word=True),
                          AddedToken("RAW", lstrip=True, rstrip=True, single_word=True, normalized=False),
                          AddedToken("<|im_"), AddedToken("\n\n", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|>:0 $A:0 <|end|>:0", pair="$A $B",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<|begin|>", "<|end|>")])
    return tokenizer


def smollm2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, byte_level_trainer())
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def sentencepiece_vocabulary():
    """Merges over characters, with <unk> and all byte tokens in front, as Llama 2 and Mistral convert theirs."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    train(trained, trainers.BpeTrainer(vocab_size=330, limit_alphabet=90, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + list(model["vocab"])
    return {token: index for index, token in enumerate(tokens)}, [tuple(merge) for merge in model["merges"]]


def llama2(byte_fallback=True):
    vocabulary, merges = sentencepiece_vocabulary()
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=byte_fallback))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                             special_tokens=[("<s>", 1)])
    return tokenizer


def mistral():
    vocabulary, merges = sentencepiece_vocabulary()
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "[INST]"])
    return tokenizer


def metaspace():
    vocabulary, merges = sentencepiece_vocabulary()
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def splits():
    """Every behaviour of Split, one after the other, and the other normalizers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\d{4,}"), "<#>"), normalizers.NFD()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True),
        pre_tokenizers.Split("(", "merged_with_next"), pre_tokenizers.Split(Regex("[,;!]"), "merged_with_previous"),
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex(r"[aeiou]"), "contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, byte_level_trainer(300))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def random_texts(specials, count):
    rng = random.Random(SEED)
    parts = ["a", "the", " ", "  ", "\n", "\r\n", "\t", "1", "2026", "'s", "'LL", "'\u017f", "\u212a", "é", "e\u0301",
             "日本", "한", "🙂", "\U0001fa77", "\u00a0", "\u3000", "\u180e", "\u200b", "!", "...", "(", "weft", "ſs",
             "\x00", "\x7f", "▁", "Ǆ", "İ", "ﬁ", "½", "\U00031350", "\u0300", "LEFT", "RIGHT", "BOTH", "WORD", "RAW",
             "<|im_", "[INST]", "café"] + specials
    return {f"random {index}": "".join(rng.choice(parts) for _ in range(rng.randrange(2, 14)))
            for index in range(count)}


def write(name, tokenizer):
    specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = {title: text for title, text in nasty_text.corpus(specials[:3]).items() if len(text) <= 60}
    texts = dict(list(texts.items())[::3]) | random_texts(specials, 80)
    vectors = []
    for title, text in texts.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        vector = {"name": title, "text": base64.b64encode(text.encode()).decode(), "ids": ids}
        with_special = tokenizer.encode(text).ids
        if with_special != ids:
            vector["with_special"] = with_special
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        if decoded != text:
            vector["decoded"] = base64.b64encode(decoded.encode()).decode()
        vectors.append(vector)
    (OUTPUT / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False,
                                                    separators=(",", ":")) + "\n")
    lines = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in vectors)
    (OUTPUT / f"{name}.vectors.json").write_text("[\n" + lines + "\n]\n")


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for make in (llama3, qwen2, gpt2, smollm2, llama2, mistral, metaspace, splits):
        write(make.__name__, make())


if __name__ == "__main__":
    main()
