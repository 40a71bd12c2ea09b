"""Every file of the repository keeps the rules of rules.py. There are no exceptions.

Run alone: python3 tests/tidy/tidy_test.py
"""

import pathlib
import subprocess
import unittest

import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE_FOLDERS = {"src", "benchmarks", "tests", "scripts"}
# Files that are made by programs or hold others' text; only their size is ours to choose.
DATA_FOLDERS = [("tests", "data"), ("tests", "corpus"), ("demo", "adapters")]


def repository_files():
    """Paths of all files that git knows or would add, relative to the root."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [pathlib.Path(name) for name in listed.split("\0") if name]
    return sorted({path for path in paths if (ROOT / path).is_file()})


def is_data(path):
    return any(path.parts[: len(folder)] == folder for folder in DATA_FOLDERS)


class Tidy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = repository_files()
        cls.texts = {}
        for path in cls.files:
            content = (ROOT / path).read_bytes()
            if not is_data(path) and b"\0" not in content[:8192]:
                cls.texts[path] = content.decode("utf-8")
        cls.code = {
            path: text
            for path, text in cls.texts.items()
            if path.parts[0] in CODE_FOLDERS and rules.is_code(path, text)
        }

    def expect_none(self, violations):
        self.assertFalse(violations, "\n  " + "\n  ".join(violations))

    def check_each(self, rule, texts):
        self.expect_none([violation for path, text in texts.items() for violation in rule(path, text)])

    def test_the_files_are_found(self):
        expected = {pathlib.Path(name) for name in ("src/base/result.h", "scripts/test", "tests/tidy/rules.py")}
        self.assertFalse(expected - self.code.keys())
        self.assertTrue(pathlib.Path("README.md") in self.texts)

    def test_file_length(self):
        self.check_each(rules.file_length, self.code)

    def test_function_length(self):
        self.check_each(rules.function_length, self.code)

    def test_include_direction(self):
        self.check_each(rules.include_direction, self.code)

    def test_file_names(self):
        self.expect_none([violation for path in self.texts for violation in rules.file_name(path)])

    def test_nothing_unfinished(self):
        self.check_each(rules.nothing_unfinished, self.texts)

    def test_file_size(self):
        self.expect_none(
            [violation for path in self.files for violation in rules.file_size(path, (ROOT / path).stat().st_size)]
        )

    def test_paths_in_documents_exist(self):
        documents = {path: text for path, text in self.texts.items() if path.suffix == ".md"}
        self.check_each(lambda path, text: rules.named_paths(path, text, ROOT), documents)


if __name__ == "__main__":
    unittest.main()
