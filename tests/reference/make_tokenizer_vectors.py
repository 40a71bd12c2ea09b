"""Makes tests/data/tokenizer/*.vectors.json: what the reference libraries make of nasty text.

Run scripts/fetch-test-vocabularies first, then this with the Python of scripts/reference-environment.

A file is a list of {"name", "text", "ids"} and, where decoding the ids does not give the text again (Unicode
normalisation), "decoded". Texts are base64 of UTF-8, because they hold what JSON parsers may mend. No token is added
before or after; special tokens in the text are found.
"""

import base64
import json
import os
import pathlib

import gguf
import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

import nasty_text

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("WEFT_CACHE") or pathlib.Path.home() / ".cache/weft")
VOCABULARIES = CACHE / "vocabularies"
OUTPUT = REPOSITORY / "tests/data/tokenizer"

LLAMA_3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                   r"|\s*[\r\n]+|\s+(?!\S)|\s+")

# The pre-tokenizers that the models' own tokenizer.json state, by the name GGUF has for them (tokenizer.ggml.pre).
PRE_TOKENIZERS = {
    "smollm": lambda: [pre_tokenizers.Digits(individual_digits=True),
                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)],
    "llama-bpe": lambda: [pre_tokenizers.Split(Regex(LLAMA_3_PATTERN), "isolated"),
                          pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
}

GGUF_CONTROL_TOKEN = 3


def tokenizer_of_gguf(path):
    """Rebuilds the byte-level BPE tokenizer that a GGUF file holds."""
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kind = fields["tokenizer.ggml.pre"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges,
                                     ignore_merges=kind == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PRE_TOKENIZERS[kind]())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([
        AddedToken(token, normalized=False)
        for token, token_type in zip(tokens, fields["tokenizer.ggml.token_type"].contents())
        if token_type == GGUF_CONTROL_TOKEN])
    return tokenizer


class HuggingFace:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def special_tokens(self):
        added = self.tokenizer.get_added_tokens_decoder()
        return [added[index].content for index in sorted(added)]


class SentencePiece:
    """A tokenizer.model. It finds no special tokens in text: that is done by whoever calls it."""

    def __init__(self, path):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text):
        return self.processor.encode(text)

    def decode(self, ids):
        return self.processor.decode(ids)

    def special_tokens(self):
        return []


def base64_of(text):
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def write_vectors(name, tokenizer):
    vectors = []
    specials = tokenizer.special_tokens()
    # The first, one from the middle and the last stand for all: hundreds would differ in nothing.
    chosen = list(dict.fromkeys(specials[index] for index in (0, 1, 2, len(specials) // 2, -1))) if specials else []
    for case, text in nasty_text.corpus(chosen).items():
        ids = tokenizer.encode(text)
        vector = {"name": case, "text": base64_of(text), "ids": ids}
        decoded = tokenizer.decode(ids)
        if decoded != text:
            vector["decoded"] = base64_of(decoded)
        vectors.append(vector)
    path = OUTPUT / f"{name}.vectors.json"
    path.write_text("[\n" + ",\n".join(json.dumps(vector, separators=(",", ":"), ensure_ascii=False) for vector in vectors) + "\n]\n")
    changed = sum("decoded" in vector for vector in vectors)
    print(f"{path.relative_to(REPOSITORY)}: {len(vectors)} texts, {changed} of which do not decode to themselves, {path.stat().st_size} bytes")


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    print(f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}")
    write_vectors("qwen2", HuggingFace(Tokenizer.from_file(str(VOCABULARIES / "qwen2/tokenizer.json"))))
    write_vectors("deepseek", HuggingFace(Tokenizer.from_file(str(VOCABULARIES / "deepseek/tokenizer.json"))))
    write_vectors("smollm2", HuggingFace(tokenizer_of_gguf(CACHE / "models/smollm2.gguf")))
    write_vectors("llama-bpe", HuggingFace(tokenizer_of_gguf(VOCABULARIES / "llama.cpp/ggml-vocab-llama-bpe.gguf")))
    for version in ("v1", "v3", "v7"):
        write_vectors(f"mistral-{version}", SentencePiece(VOCABULARIES / f"mistral-{version}/tokenizer.model"))


if __name__ == "__main__":
    main()
