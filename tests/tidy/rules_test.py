"""Every rule finds a planted violation, and leaves alone what looks like one and is none."""

import pathlib
import tempfile
import unittest

import cpp_functions
import rules


def names_and_lines(text):
    return [(function.name, function.lines) for function in cpp_functions.functions(text)]


class CppFunctions(unittest.TestCase):
    def test_counts_from_brace_to_brace(self):
        self.assertEqual(names_and_lines("int F(\n    int x) {\n  return x;\n}\n"), [("F", 3)])

    def test_finds_functions_in_namespaces_classes_and_linkage(self):
        text = (
            'namespace weft::text {\nclass Bpe final : public Base<int> {\n public:\n  void A() const { }\n private:\n'
            '  int x_{3};\n};\nnamespace {\ntemplate <class T>\nT B(T x) {\n  return x; }\n}\n}\nextern "C" {\nvoid C() {}\n}\n'
        )
        self.assertEqual(names_and_lines(text), [("A", 1), ("B", 2), ("C", 1)])

    def test_braces_in_comments_literals_and_directives_do_not_count(self):
        text = (
            '#define OPEN {  \\\n  {{\nvoid F() {\n  // {\n  /* {\n   { */\n  f("{\\"{", \'{\', \'\\\'\', 1\'000\'000);\n'
            '  g(R"x({ )" {)x", u8"{", L\'{\');\n}\n'
        )
        self.assertEqual(names_and_lines(text), [("F", 7)])

    def test_constructors_with_initializer_lists(self):
        text = "Foo::Foo(int a) noexcept\n    : a_{a},\n      b_(Bar{1, 2}) {\n  x();\n}\nFoo::~Foo() { y(); }\n"
        self.assertEqual(names_and_lines(text), [("Foo::Foo", 3), ("Foo::~Foo", 1)])

    def test_values_are_no_functions(self):
        text = (
            "const std::map<int, int> kMap = {\n{1, 2},\n{f(3), 4}};\nint kArray[] = {\n1};\nenum class E : int {\nkA };\n"
            "struct S {\n  Duration took{};\n  std::array<int, 2> a{1,\n2};\n};\nauto kSize = Size(3,\n{4});\n"
        )
        self.assertEqual(names_and_lines(text), [])

    def test_default_arguments_trailing_types_operators_and_lambdas(self):
        text = (
            "void A(Options o = {}, std::vector<int> v = {1}) {\n}\nauto B() -> std::vector<int> {\n}\n"
            "bool operator==(const X& a, const X& b) {\n}\nconst auto kC = [](int x) {\n  return x;\n};\n"
            "TEST(Suite, Case) {\n  auto f = [] {\n  };\n}\n"
        )
        expected = [("A", 2), ("B", 2), ("operator==", 2), ("lambda", 3), ("TEST", 4)]
        self.assertEqual(names_and_lines(text), expected)

    def test_unbalanced_braces_are_an_error(self):
        for text in ("void F() {\n", "void F() {}\n}\n"):
            with self.assertRaises(cpp_functions.UnbalancedBraces):
                cpp_functions.functions(text)


class Rules(unittest.TestCase):
    def expect(self, violations, *words):
        self.assertEqual(len(violations), 1, violations)
        for word in words:
            self.assertIn(word, violations[0])

    def test_file_length(self):
        path = pathlib.Path("src/base/long.cc")
        self.assertEqual(rules.file_length(path, "int x;\n" * 500), [])
        self.expect(rules.file_length(path, "int x;\n" * 501), "src/base/long.cc", "501")

    def test_function_length(self):
        for name, function in [
            ("src/base/f.cc", lambda lines: "void F() {\n" + "  f();\n" * (lines - 2) + "}\n"),
            ("scripts/f.py", lambda lines: "def F():\n" + "    f()\n" * (lines - 1)),
            ("scripts/f.sh", lambda lines: "F() {\n" + "  f\n" * (lines - 2) + "}\n"),
        ]:
            self.assertEqual(rules.function_length(pathlib.Path(name), function(70)), [])
            self.expect(rules.function_length(pathlib.Path(name), function(71)), name, "F has 71 lines")

    def test_function_length_of_what_cannot_be_read(self):
        self.expect(rules.function_length(pathlib.Path("src/base/f.cc"), "void F() {"), "cannot find its functions")
        self.expect(rules.function_length(pathlib.Path("scripts/f.py"), "def F(:"), "cannot find its functions")

    def test_include_direction(self):
        path = pathlib.Path("src/text/bpe.cc")
        good = '#include "text/bpe.h"\n#include "base/result.h"\n#include <vector>\n'
        self.assertEqual(rules.include_direction(path, good), [])
        self.expect(rules.include_direction(path, good + '#include "engine/engine.h"'), "bpe.cc:4", "text/ includes engine/")
        self.expect(rules.include_direction(path, '#include "bpe.h"'), "does not start at src/")
        self.expect(rules.include_direction(pathlib.Path("src/new/a.h"), ""), "does not know the folder new")

    def test_the_folders_have_no_circle(self):
        reached = set()
        while ready := [f for f, below in rules.MAY_INCLUDE.items() if f not in reached and below <= reached]:
            reached.update(ready)
        self.assertEqual(reached, set(rules.MAY_INCLUDE))

    def test_file_names(self):
        self.assertEqual(rules.file_name(pathlib.Path("src/text/commonwealth.cc")), [])
        self.expect(rules.file_name(pathlib.Path("src/text/string_utils.cc")), "'utils'")

    def test_nothing_unfinished(self):
        path = pathlib.Path("src/base/a.cc")
        self.assertEqual(rules.nothing_unfinished(path, "mktemp x.XXXXXX"), [])
        self.expect(rules.nothing_unfinished(path, "\n// TO" + "DO: later"), "a.cc:2", "TO" + "DO")

    def test_file_size(self):
        self.assertEqual(rules.file_size(pathlib.Path("demo/adapters/pirate/adapter_model.safetensors"), 3_000_000), [])
        self.expect(rules.file_size(pathlib.Path("tests/data/big.json"), 1_000_001), "1000001 bytes")

    def test_named_paths(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "docs").mkdir()
            (root / "src/base").mkdir(parents=True)
            (root / "src/base/a.cc").touch()
            path = pathlib.Path("docs/page.md")
            good = "See `src/base/a.cc`, src/base/*.cc and src/base/. Not ours: https://x.org/docs/y, build/src/z, $D/src/z"
            self.assertEqual(rules.named_paths(path, good, root), [])
            self.expect(rules.named_paths(path, "\nSee src/base/b.cc.", root), "page.md:2", "names src/base/b.cc,")
            self.expect(rules.named_paths(path, "[other](other.md#part)", root), "links to other.md")


if __name__ == "__main__":
    unittest.main()
