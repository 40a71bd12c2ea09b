"""Finds the functions of a C++ file and their lengths, without a compiler.

Comments, literals and preprocessor lines are blanked first; then braces are matched, and what stands before a brace
says what it opens. Functions inside functions (lambdas, local classes) belong to the outer one.
"""

import dataclasses
import re

_RAW_STRING = re.compile(r'(?:u8|[uUL])?R"([^()\\\s]{0,16})\(')
_CLASS = re.compile(r"\b(?:class|struct|union)\b")
_CONSTRUCTOR_INITIALIZER = re.compile(r"\)\s*(?:noexcept\s*(?:\(\s*\))?\s*)?:(?!:)")
_LINKAGE = re.compile(r'\bextern\s+""\s*$')


class UnbalancedBraces(Exception):
    """The braces of a file do not match, so nothing can be said of its functions."""


@dataclasses.dataclass(frozen=True)
class Function:
    name: str
    first_line: int  # Of its opening brace.
    last_line: int

    @property
    def lines(self):
        return self.last_line - self.first_line + 1


def blank_noise(text):
    """The text with comments, contents of literals and preprocessor lines as spaces; line breaks stay."""
    out = []
    at = 0
    while at < len(text):
        end, kept = _noise_at(text, at)
        if end == at:
            out.append(text[at])
            at += 1
        else:
            out.append(kept + re.sub(r"[^\n]", " ", text[at + len(kept) : end]))
            at = end
    return "".join(out)


def _noise_at(text, at):
    """(end of the noise that begins here or `at`, what of it is kept)."""
    raw = _RAW_STRING.match(text, at)
    if raw and not _continues_word(text, at):
        closing = ")" + raw.group(1) + '"'
        end = text.find(closing, raw.end())
        return (len(text) if end < 0 else end + len(closing)), '""'
    if text.startswith("//", at):
        return _end_of_line(text, at), ""
    if text.startswith("/*", at):
        end = text.find("*/", at + 2)
        return (len(text) if end < 0 else end + 2), ""
    if text[at] == '"':
        return _end_of_literal(text, at, '"'), '""'
    if text[at] == "'" and not _continues_word(text, at):  # 1'000 is a number.
        return _end_of_literal(text, at, "'"), "''"
    if text[at] == "#" and not text[text.rfind("\n", 0, at) + 1 : at].strip():
        return _end_of_line(text, at), ""
    return at, ""


def _continues_word(text, at):
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_") and not re.search(
        r"\b(?:u8|[uUL])$", text[max(0, at - 3) : at]
    )


def _end_of_line(text, at):
    """The line's end, where a backslash at its end joins the next line."""
    while True:
        end = text.find("\n", at)
        if end < 0:
            return len(text)
        if text[end - 1] != "\\":
            return end
        at = end + 1


def _end_of_literal(text, at, quote):
    at += 1
    while at < len(text) and text[at] not in (quote, "\n"):
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def functions(text):
    """Every function of a C++ file, in order. Raises UnbalancedBraces."""
    return _Matcher(blank_noise(text)).run()


class _Matcher:
    """Walks over blanked text with a stack of what each open brace is: `scope` (namespace or class), `function`, or
    `value` (an initializer, an enum, anything that holds no functions and does not end a declaration)."""

    def __init__(self, text):
        self.text = text
        self.stack = []
        self.head = ""  # The declaration read so far at the innermost scope.
        self.found = []
        self.line = 1

    def run(self):
        for character in self.text:
            if character == "\n":
                self.line += 1
            if character == "{":
                self._open()
            elif character == "}":
                self._close()
            elif self._collects_head():
                self.head = "" if character == ";" and not self._in_parentheses() else self.head + character
        if self.stack:
            raise UnbalancedBraces(f"the brace opened in line {self.stack[-1][1]} is never closed")
        return self.found

    def _collects_head(self):
        return all(kind == "scope" for kind, _, _ in self.stack)

    def _in_parentheses(self):
        return self.head.count("(") > self.head.count(")")

    def _open(self):
        if not self._collects_head():
            self.stack.append(("value", self.line, ""))
            return
        kind = "value" if self._in_parentheses() else brace_kind(self.head)
        self.stack.append((kind, self.line, function_name(self.head) if kind == "function" else ""))
        if kind == "scope":
            self.head = ""

    def _close(self):
        if not self.stack:
            raise UnbalancedBraces(f"line {self.line} closes a brace that was never opened")
        kind, first_line, name = self.stack.pop()
        if kind == "function":
            self.found.append(Function(name, first_line, self.line))
        if kind in ("scope", "function"):
            self.head = ""
        elif self._collects_head():
            self.head += "{}"  # An initializer's braces are part of the declaration.


def brace_kind(head):
    """What a brace opens that follows this declaration: 'scope', 'function' or 'value'."""
    head = _without_templates_and_attributes(re.sub(r"^\s*(?:(?:public|private|protected)\s*:\s*)+", "", head))
    if re.search(r"\bnamespace\b", head) or _LINKAGE.search(head):
        return "scope"
    if re.match(r"\s*(?:typedef\s+)?enum\b", head):
        return "value"
    before_parentheses = head.split("(", 1)[0]
    if _CLASS.search(before_parentheses) and "(" not in head:
        return "scope"
    if "(" not in head and not re.search(r"\[[^\]]*\]\s*$", head):
        return "value"
    if _CONSTRUCTOR_INITIALIZER.search(head):
        return "function" if re.search(r"[)}]\s*$", head) else "value"
    if re.search(r"(?:=|,|\breturn)\s*$", head):
        return "value"
    if re.search(r"^[^()]*[^()=!<>]=[^=]", head):  # A variable: a function only where it holds a lambda.
        return "function" if re.search(r"\[[^\[\]]*\]\s*(?:\(.*\).*)?$", head, re.DOTALL) else "value"
    return "function"


def function_name(head):
    match = re.search(r"(operator\s*\S+?|~?[\w:~]+)\s*\(", head)
    return re.sub(r"\s+", " ", match.group(1)) if match else "lambda"


def _without_templates_and_attributes(head):
    head = re.sub(r"\balignas\s*\([^()]*\)|\[\[[^\]]*\]\]|\b__attribute__\s*\(\([^()]*(?:\([^()]*\))?[^()]*\)\)", " ", head)
    while match := re.search(r"\btemplate\s*<", head):
        depth, at = 1, match.end()
        while at < len(head) and depth:
            depth += {"<": 1, ">": -1}.get(head[at], 0)
            at += 1
        head = head[: match.start()] + head[at:]
    return head
