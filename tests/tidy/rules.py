"""The rules that every file of the repository keeps. Each takes a file's path and text and returns what is wrong,
as lines that say where, what, and what would be right."""

import ast
import pathlib
import re

import cpp_functions

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_FILE_BYTES = 1_000_000

CPP_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager"}

_ENGINE_AND_BELOW = {"engine", "adapter", "memory", "model", "ops", "device", "checkpoint", "text", "base"}
# What the files of a folder of src/ may include, besides its own.
MAY_INCLUDE = {
    "base": set(),
    "text": {"base"},
    "checkpoint": {"base"},
    "device": {"base"},
    "ops": {"base", "checkpoint", "device"},
    "model": {"base", "checkpoint", "device", "ops"},
    "memory": {"base", "device"},
    "adapter": {"base", "checkpoint", "device", "memory", "ops"},
    "engine": _ENGINE_AND_BELOW - {"engine"},
    "sim": _ENGINE_AND_BELOW,
    "server": {"base", "engine", "ops", "text"},
    "bench": {"base", "checkpoint", "text"},
    "cli": _ENGINE_AND_BELOW | {"bench", "server", "sim"},
}

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
_UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
_SHELL_FUNCTION = re.compile(r"^(?:function )?([\w-]+) ?\(\) ?\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAMED_PATH = re.compile(r"(?<![\w/.~$}-])((?:src|scripts|docs|tests|demo|benchmarks|cmake|web|deploy)/[\w./*-]*)")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def file_length(path, text):
    lines = len(text.splitlines())
    return [f"{path}: {lines} lines, {MAX_FILE_LINES} are allowed: split it by idea"] if lines > MAX_FILE_LINES else []


def function_length(path, text):
    try:
        found = list(_functions(path, text))
    except (SyntaxError, cpp_functions.UnbalancedBraces) as error:
        return [f"{path}: cannot find its functions: {error}"]
    return [
        f"{path}:{first}: {name} has {lines} lines, {MAX_FUNCTION_LINES} are allowed: split it"
        for name, first, lines in found
        if lines > MAX_FUNCTION_LINES
    ]


def _functions(path, text):
    """(name, first line, lines) of every function in a C++, Python or shell file."""
    if path.suffix in CPP_SUFFIXES:
        for function in cpp_functions.functions(text):
            yield function.name, function.first_line, function.lines
    elif is_python(path, text):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name, node.lineno, node.end_lineno - node.lineno + 1
    elif is_shell(path, text):
        for match in _SHELL_FUNCTION.finditer(text):
            yield match.group(1), line_of(text, match.start()), match.group(0).count("\n") + 1


def is_python(path, text):
    return path.suffix == ".py" or bool(re.match(r"#!.*\bpython", text))


def is_shell(path, text):
    return path.suffix == ".sh" or bool(re.match(r"#!.*\b(?:ba)?sh\b", text))


def is_code(path, text):
    return path.suffix in CPP_SUFFIXES or is_python(path, text) or is_shell(path, text)


def include_direction(path, text):
    """Every include of a file under src/ starts at src/ and goes the one way that MAY_INCLUDE allows."""
    if path.parts[0] != "src" or path.suffix not in CPP_SUFFIXES:
        return []
    folder = path.parts[1]
    if folder not in MAY_INCLUDE:
        return [f"{path}: tests/tidy/rules.py does not know the folder {folder}: say there what it may include"]
    wrong = []
    for match in _INCLUDE.finditer(text):
        target = match.group(1).split("/")[0]
        where = f"{path}:{line_of(text, match.start(1))}"
        if target not in MAY_INCLUDE:
            wrong.append(f'{where}: "{match.group(1)}" does not start at src/: write the folder, then the file')
        elif target != folder and target not in MAY_INCLUDE[folder]:
            allowed = ", ".join(sorted(MAY_INCLUDE[folder])) or "nothing else"
            wrong.append(f"{where}: {folder}/ includes {target}/; it may include {allowed}")
    return wrong


def file_name(path):
    words = set(re.split(r"[^a-z0-9]+", path.name.lower())) & FORBIDDEN_NAMES
    return [f"{path}: '{word}' says nothing in a file's name: name what is inside" for word in sorted(words)]


def nothing_unfinished(path, text):
    return [
        f"{path}:{line_of(text, match.start())}: '{match.group(0)}' in the tree: do it, or write it in docs/roadmap.md"
        for match in _UNFINISHED.finditer(text)
    ]


def file_size(path, size):
    if size <= MAX_FILE_BYTES or path.parts[:2] == ("demo", "adapters"):
        return []
    return [f"{path}: {size} bytes, {MAX_FILE_BYTES} are allowed outside demo/adapters: make it by a script"]


def named_paths(path, text, root):
    """Every path of the repository that a document names is there; so are its relative links."""
    wrong = []
    for match in _NAMED_PATH.finditer(text):
        name = match.group(1).rstrip(".-")
        if not _exists(root, name):
            wrong.append(f"{path}:{line_of(text, match.start())}: names {name}, which does not exist")
    for match in _LINK.finditer(text):
        if "://" not in match.group(1) and not _exists(root / path.parent, match.group(1)):
            wrong.append(f"{path}:{line_of(text, match.start())}: links to {match.group(1)}, which does not exist")
    return wrong


def _exists(root, name):
    if "*" in name:
        return next(pathlib.Path(root).glob(name), None) is not None
    return (pathlib.Path(root) / name).exists()
