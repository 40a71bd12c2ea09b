"""Text that tokenizers get wrong: the corpus behind tests/data/tokenizer/*.vectors.json."""

import random

# name -> text. Names appear in the vectors, so that a failing one says what it is about.
CASES = {
    "empty": "",
    "one letter": "a",
    "one space": " ",
    "sentence": "Hello world, how are you today?",
    "leading space": " Hello",
    "two leading spaces": "  Hello",
    "trailing space": "Hello ",
    "trailing spaces": "Hello   ",
    "space before newline": "Hello \n world",
    "contractions": "I'm you're he's she'll we've they'd can't it's",
    "upper-case contractions": "I'M YOU'RE HE'S SHE'LL WE'VE THEY'D CAN'T IT'S",
    "mixed-case contractions": "I'lL we'Ve they'rE O'tool d'accord l'été rock'n'roll 'tis 'twas ''s ''",
    "long s folds to s (U+017F)": "it'\u017f that'\u017fo \u017f 'S\u017f",
    "kelvin sign folds to k (U+212A)": "'\u212a 5\u212a \u212aelvin I'\u212a",
    "typographic apostrophe": "I\u2019m you\u2019re can\u2019t",
    "spaces 2": "a  b",
    "spaces 3": "a   b",
    "spaces 4": "a    b",
    "spaces 17": "a" + " " * 17 + "b",
    "spaces 300": " " * 300,
    "newline": "\n",
    "newlines": "a\n\nb\n\n\nc\n\n\n\nd",
    "newlines 100": "\n" * 100,
    "tabs": "\tif x:\n\t\treturn\t\ty\n",
    "tabs 50": "\t" * 50,
    "mixed white space": " \n \t \r\n  \t\n x \t",
    "white space to the end": "word \n\n  \t ",
    "CRLF": "first\r\nsecond\r\n\r\nthird\rfourth\n\rfifth",
    "carriage returns": "\r\r\r",
    "vertical tab, form feed": "a\x0bb\x0cc \x0b d",
    "unicode spaces": "a\u00a0b\u2002c\u2003d\u2009e\u202ff\u205fg\u3000h\u00a0\u00a0i",
    "line and paragraph separators": "a\u2028b\u2029c\u0085d",
    "zero-width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f",
    "byte order mark first": "\ufeffHello",
    "digit": "7",
    "digits": "1 12 123 1234 12345 123456 1234567 12345678901234567890",
    "digits in words": "abc123def 4th 2nd v1.2.3-rc4 0x1F 1e-5 3.14159 1,000,000.00",
    "other digits": "\u0661\u0662\u0663 \u0967\u0968\u0969 \uff11\uff12\uff13 \u00b2\u00b3\u00b9 \u00bd \u2167 \u2460",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "punctuation runs": "Wait... what?!?! --- *** === >>> ;;; (((x))) \u2026 \u2014 \u201cq\u201d",
    "punctuation then newline": "end.\nNext!\n\n(?)\r\n}\n",
    "underscores": "snake_case __init__ _x x_ ___",
    "camel case": "camelCase HTTPServer XMLHttpRequest iPhone McDonald",
    "URL": "https://example.org/a/b?c=d&e=%20f#g user@example.org",
    "python": "def f(x, *args, **kw):\n    \"\"\"Doc.\"\"\"\n    return {k: v for k, v in kw.items() if k != 'x'}  # ok\n",
    "c++": "template <typename T>\nauto&& f(T&& t) -> decltype(t) { return std::forward<T>(t)->*x << 3; }\r\n",
    "json": '{"a": [1, 2.5, null, true], "b\\n": "\\u00e9"}',
    "html": "<p class=\"x\">a &amp; b</p><!-- c -->",
    "markdown": "# Title\n\n- item\n  1. **bold** `code`\n\n```sh\nls -la | grep x > /dev/null 2>&1\n```\n",
    "latex": "$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$",
    "accents composed": "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u00fcber pi\u00f1ata",
    "accents decomposed": "cafe\u0301 nai\u0308ve A\u030angstro\u0308m u\u0308ber pin\u0303ata",
    "marks stacked": "z\u0351\u036b\u0343\u036a\u0302\u036b\u033d a\u0301\u0301\u0301",
    "a mark alone": "\u0301 \u0301a x \u0301",
    "marks out of canonical order": "q\u0307\u0323 q\u0323\u0307",
    "singleton decompositions": "\u212b \u2126 \u1e9b\u0323 \ufb01 \uf900 \U0002f800",
    "compatibility characters": "\ufb01nance \uff21\uff22\uff23 \u2122 \u337f \u00aa",
    "german": "Stra\u00dfe STRASSE \u1e9e \u00c4rger",
    "turkish": "\u0130stanbul \u0131 i\u0307",
    "greek": "\u039f\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c2 \u03ac\u03bd\u03b4\u03c1\u03b1 \u1fb3\u0313",
    "cyrillic": "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0439 \u0438\u0306",
    "chinese": "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\u6211\u67093\u4e2aApple\u3002",
    "japanese": "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3002\u30ab\u30bf\u30ab\u30ca\uff76\uff9e \u304b\u3099",
    "korean": "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "rare han": "\U00020000\U0002a6d6\u9fa6\u3400 \u9fff",
    "arabic": "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f \u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f",
    "hebrew": "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "right-to-left marks": "abc \u202e\u05d0\u05d1\u05d2\u202c def \u200f \u2066x\u2069",
    "devanagari": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0915\u093c \u0958",
    "thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "tamil": "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd",
    "khmer": "\u179f\u17bd\u179f\u17d2\u178f\u17b8",
    "tibetan": "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d",
    "emoji": "\U0001f600 \U0001f44d\U0001f3fd \u2764\ufe0f \u263a",
    "emoji joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f9d1\U0001f3fe\u200d\U0001f680\U0001f3f4\u200d\u2620\ufe0f",
    "flags": "\U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5 \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "keycap": "1\ufe0f\u20e3 #\ufe0f\u20e3",
    "mathematical letters": "\U0001d49c\U0001d4d0\U0001d538 \U0001d7d8\U0001d7ce",
    "symbols": "\u20ac\u00a3\u00a5 \u2192\u21d2 \u2211\u222b\u221e \u00a9\u00ae \u00b0C \u2713\u2717 \u2588\u2592",
    "box drawing": "\u250c\u2500\u2510\n\u2502x\u2502\n\u2514\u2500\u2518",
    "replacement character": "\ufffd a\ufffdb \ufffd\ufffd",
    "not characters": "\uffff \ufffe \U0010ffff \ufdd0",
    "private use": "\ue000\uf8ff \U000f0000",
    "nul": "\x00 a\x00b \x00\x00",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "control character after a space": " \x01 \x02a \x1b[31mred\x1b[0m",
    "soft hyphen": "hy\u00adphen \u00ad",
    "each two-byte lead": "".join(chr(c) for c in range(0x80, 0x800, 64)),
    "each three-byte lead": "".join(chr(c) for c in range(0x800, 0x10000, 4096) if not 0xd800 <= c < 0xe000),
    "each four-byte lead": "\U00010000\U00040000\U00080000\U000c0000\U00100000",
    "one letter 4096 times": "a" * 4096,
    "one letter 1023 times, upper case": "A" * 1023,
    "equals 500": "=" * 500,
    "zeros 301": "0" * 301,
    "han 200": "\u7684" * 200,
    "emoji 64": "\U0001f600" * 64,
    "letters without a break": "thequickbrownfoxjumpsoverthelazydog" * 20,
    "words": "the of and to in a is that for it as was with be by on not he i this are or his from at which but " * 5,
    "repeated pairs": "ababababab abcabcabcabc aabbaabb " * 5,
    "base64": "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2NpbmcgZWxpdA==",
    "hash": "d41d8cd98f00b204e9800998ecf8427e 3.0.0-beta+exp.sha.5114f85",
    "sentencepiece's space": "\u2581Hello\u2581world \u2581",
    "byte-fallback look-alike": "<0x0A> <0xFF> <unk> <s> </s>",
    "special look-alikes": "<|im_start <|im_end|] |> <| endoftext |> [INST] [/INST]",
    "byte alphabet characters": "\u0120Hello \u010a \u0100\u0143",
}

# The marker of each template is replaced by each of a vocabulary's special tokens in turn.
SPECIAL_TEMPLATES = {
    "special alone": "{}",
    "special between words": "before{}after",
    "special between spaces": "before {} after",
    "special between many spaces": "before   {}   after",
    "special between newlines": "before\n{}\nafter",
    "special twice": "{}{}",
    "special with letters next to it": "x{}y {}",
    "special in part": "{0}<|{0}|>",
}

# White space, letters of several cases, scripts and widths, marks, digits, apostrophes, punctuation: what the
# pre-tokenizers' patterns tell apart. Twice what matters most.
RANDOM_PIECES = list("  \n\n\r\t''stredmvl,.!?-_(){}\"#a zAZ019") + [
    "'s", "'LL", "  ", "\r\n", "the", " of", "\u00a0", "\u3000", "\u00e9", "e\u0301", "\u0301", "\u017f", "\u4e2d", "\u306e", "\u30ab",
    "\ud55c", "\u0645", "\u05d0", "\u0928\u093f", "\u0e33", "\u0661", "\u00b2", "\u20ac", "\u2014", "\U0001f600", "\u200d", "\ufe0f", "\u2028", "\x00", "\x7f",
    "\ufffd", "\u01c5", "\u02b0", "\u2167", "\u203f",
]


def corpus(special_tokens):
    """Returns {name: text}: the cases, those with special tokens, and random mixtures, the same in each run."""
    texts = dict(CASES)
    for special in special_tokens:
        for name, template in SPECIAL_TEMPLATES.items():
            texts[f"{name}: {special}"] = template.format(special, special)
    if special_tokens:
        first, last = special_tokens[0], special_tokens[-1]
        texts["special next to special"] = f"{first}{last}{first} {last}\n{first}"
        texts["special cut off"] = first[:-1] + " " + first[1:] + first[: len(first) // 2]
    generator = random.Random(17)
    for index in range(300):
        length = generator.randint(1, 24)
        texts[f"random {index}"] = "".join(generator.choice(RANDOM_PIECES) for _ in range(length))
    return texts
