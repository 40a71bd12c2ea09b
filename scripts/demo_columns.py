"""Lays answers that grow at the same time out in columns, so that they can be read side by side in a terminal."""

import textwrap

GAP = 3
MIN_COLUMN = 24
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def columns_per_row(answers, width):
    """As many columns as stay readable, spread evenly over the rows they need."""
    fit = max(1, (width + GAP) // (MIN_COLUMN + GAP))
    rows = -(-answers // fit)
    return -(-answers // rows)


def wrap(text, width):
    """The text's lines, none wider than `width`; the text's own line breaks stay."""
    lines = []
    for line in printable(text).split("\n"):
        lines += textwrap.wrap(line, width, drop_whitespace=True) or [""]
    return lines


def printable(text):
    """A model may write anything: what could move the cursor is shown as a space."""
    return "".join(c if c == "\n" or c.isprintable() else " " for c in text)


def render(answers, width, height):
    """The lines of a picture of all answers that fits into width x height. Each answer has `title`, `text`, `status`
    and `done`; where a text is too long, its end is shown while it grows, its beginning when it is done."""
    per_row = columns_per_row(len(answers), width)
    column = (width - GAP * (per_row - 1)) // per_row
    rows = [answers[i : i + per_row] for i in range(0, len(answers), per_row)]
    body = max(1, height // len(rows) - 3)  # Besides a title, a status and an empty line.
    lines = []
    for row in rows:
        lines.append(_join([(answer.title, column, BOLD) for answer in row]))
        bodies = [_visible(wrap(answer.text, column), body, answer.done) for answer in row]
        for i in range(max(len(lines_of_one) for lines_of_one in bodies)):
            lines.append(_join([(one[i] if i < len(one) else "", column, "") for one in bodies]))
        lines.append(_join([(answer.status, column, DIM) for answer in row]))
        lines.append("")
    return lines


def _visible(lines, height, done):
    if len(lines) <= height:
        return lines
    return lines[: height - 1] + ["..."] if done else lines[-height:]


def _join(cells):
    return (" " * GAP).join(f"{style}{text[:width]:<{width}}{RESET if style else ''}" for text, width, style in cells)
