#!/usr/bin/env python3
"""Asks one question through several models of an OpenAI-compatible server at once and shows the answers as they come:
in columns on a terminal, one after the other elsewhere.

    scripts/demo_client.py --url http://127.0.0.1:30000 --question "How do I make coffee?" base pirate poet

Standard library only.
"""

import argparse
import http.client
import json
import shutil
import sys
import threading
import time
import urllib.parse

import demo_columns

REDRAW_SECONDS = 0.06
TIMEOUT_SECONDS = 120


class Answer:
    """One model's answer while it grows. Written by its own thread, read by the one that draws."""

    def __init__(self, title):
        self.title = title
        self.text = ""
        self.status = "waiting"
        self.done = False
        self.failed = False
        self._asked = time.monotonic()
        self._first = None

    def add(self, piece):
        if self._first is None:
            self._first = time.monotonic()
        self.text += piece
        self.status = f"first {self._first_token_ms()} ms"

    def finish(self, tokens):
        if self._first is None:
            self.fail("the server sent no text")
            return
        seconds = time.monotonic() - self._first
        self.status = f"first {self._first_token_ms()} ms"
        if tokens > 1 and seconds > 0:
            self.status += f", {(tokens - 1) / seconds:.0f} tok/s"
        self.done = True

    def fail(self, reason):
        self.status = f"failed: {reason}"
        self.done = self.failed = True

    def _first_token_ms(self):
        return round((self._first - self._asked) * 1000)


def stream_chat(url, model, question, max_tokens, answer):
    """Fills `answer` from a streamed chat completion; what goes wrong ends up in it as well."""
    try:
        _stream_chat(url, model, question, max_tokens, answer)
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        answer.fail(f"{type(error).__name__}: {error}")


def _stream_chat(url, model, question, max_tokens, answer):
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=TIMEOUT_SECONDS)
    request = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(request), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            answer.fail(f"{response.status} {error_message(response.read())}")
            return
        tokens = 0
        for event in events(response):
            if "error" in event:
                answer.fail(event["error"].get("message", "unknown error"))
                return
            for choice in event.get("choices", []):
                if piece := choice["delta"].get("content"):
                    answer.add(piece)
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
        answer.finish(tokens)
    finally:
        connection.close()


def error_message(body):
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        return body[:200].decode(errors="replace")


def events(lines):
    """The JSON of each `data:` line of a server-sent event stream, up to [DONE]."""
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name != "data":
            continue
        if value.strip() == "[DONE]":
            return
        yield json.loads(value)
    raise ConnectionError("the stream ended before [DONE]")


def ask_all(url, models, question, max_tokens, out):
    """Asks all models at once, shows the answers on `out` and returns them."""
    answers = [Answer(model) for model in models]
    threads = [
        threading.Thread(target=stream_chat, args=(url, answer.title, question, max_tokens, answer), daemon=True)
        for answer in answers
    ]
    for thread in threads:
        thread.start()
    if out.isatty():
        draw_until_done(answers, out)
    else:
        print_in_order(answers, threads, out)
    return answers


def draw_until_done(answers, out):
    """Draws the columns again and again in the same place, and a last time when all is said."""
    drawn = 0
    while True:
        done = all(answer.done for answer in answers)
        size = shutil.get_terminal_size()
        lines = demo_columns.render(answers, size.columns - 1, size.lines - 2)
        # Up to where the last picture began, and clear from there to the screen's end.
        out.write((f"\x1b[{drawn}A" if drawn else "") + "\r\x1b[J" + "\n".join(lines) + "\n")
        out.flush()
        drawn = len(lines)
        if done:
            return
        time.sleep(REDRAW_SECONDS)


def print_in_order(answers, threads, out):
    for answer, thread in zip(answers, threads):
        thread.join()
        out.write(f"--- {answer.title} ({answer.status})\n{demo_columns.printable(answer.text)}\n\n")
        out.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names as in /v1/models")
    parser.add_argument("--url", required=True)
    parser.add_argument("--question", required=True)
    parser.add_argument("--max-tokens", type=int, default=80)
    arguments = parser.parse_args()
    answers = ask_all(arguments.url, arguments.models, arguments.question, arguments.max_tokens, sys.stdout)
    return 1 if any(answer.failed for answer in answers) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
