"""The demo's columns keep to the terminal they are drawn in."""

import pathlib
import sys
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

import demo_columns  # noqa: E402


def answer(title, text, done=False):
    return types.SimpleNamespace(title=title, text=text, status="first token 5 ms", done=done)


def plain(line):
    return line.replace(demo_columns.BOLD, "").replace(demo_columns.DIM, "").replace(demo_columns.RESET, "")


class Columns(unittest.TestCase):
    def test_columns_are_spread_evenly(self):
        self.assertEqual(demo_columns.columns_per_row(5, 200), 5)
        self.assertEqual(demo_columns.columns_per_row(5, 110), 3)
        self.assertEqual(demo_columns.columns_per_row(5, 10), 1)

    def test_never_larger_than_the_terminal(self):
        answers = [answer(f"adapter{i}", "words and " * 200) for i in range(5)]
        for width in (24, 60, 100, 200):
            lines = demo_columns.render(answers, width, 40)
            self.assertLessEqual(len(lines), 40)
            self.assertLessEqual(max(len(plain(line)) for line in lines), width)

    def test_shows_the_end_while_growing_and_the_beginning_when_done(self):
        text = "\n".join(f"line{i}" for i in range(30))
        growing = "\n".join(demo_columns.render([answer("a", text)], 40, 13))
        done = "\n".join(demo_columns.render([answer("a", text, done=True)], 40, 13))
        self.assertIn("line29", growing)
        self.assertNotIn("line0\n", growing)
        self.assertIn("line0 ", done)
        self.assertNotIn("line29", done)

    def test_what_moves_the_cursor_is_not_printed(self):
        self.assertEqual(demo_columns.wrap("a\x1b[2Jb\rc\td", 40), ["a [2Jb c d"])


if __name__ == "__main__":
    unittest.main()
