"""Makes tests/data/tokenizer/regex_classes.json: for classes that tokenizers' regular expressions use, how many characters
`tokenizers` (Oniguruma) finds in them, and the FNV-1a digest over those code points in order.

Run with the Python of scripts/reference-environment. src/text/unicode_additions.cc lists where PCRE2 differs.
"""

import json
import pathlib

from tokenizers import Regex, pre_tokenizers

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/tokenizer/regex_classes.json"
CATEGORIES = "L N M P S Lu Ll Lt Lm Lo Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs".split()
CLASSES = [rf"\p{{{category}}}" for category in CATEGORIES] + [
    r"\s", r"\w", r"\d", r"\P{L}", r"\p{Han}", r"\p{Hiragana}", r"\p{Katakana}", r"\p{Hangul}", r"\p{Thai}", "(?i:s)",
    "(?i:k)", "(?i:[a-z])", r"[^\s\p{L}\p{N}]", r"[^\r\n\p{L}\p{P}\p{S}]", "."]


def main():
    text = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    classes = {}
    for pattern in CLASSES:
        split = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True)
        found = [ord(character) for piece, _ in split.pre_tokenize_str(text) for character in piece]
        digest = 0xCBF29CE484222325
        for code in found:
            digest = ((digest ^ code) * 0x100000001B3) % 2**64
        classes[pattern] = {"count": len(found), "digest": f"{digest:016x}"}
    OUTPUT.write_text(json.dumps(classes, indent=1) + "\n")


if __name__ == "__main__":
    main()
