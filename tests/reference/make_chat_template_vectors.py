"""Makes tests/data/chat_template/*.json: what transformers renders with real chat templates.

Run scripts/fetch-test-vocabularies first, then this with the Python of scripts/reference-environment.

`rendered.json` holds the texts for a few templates; `digests.json` the FNV-1a hash of the text for every template that
packages ship, null where transformers raises an error; texts that depend on the day are left out. The conversations are
in both, as the JSON a client would send.
"""

import datetime
import json
import os
import pathlib
import unittest.mock

import gguf
from transformers.utils import chat_template_utils

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("WEFT_CACHE") or pathlib.Path.home() / ".cache/weft")
TEMPLATES = CACHE / "vocabularies/templates"
OUTPUT = REPOSITORY / "tests/data/chat_template"

SHOWN = ["SmolLM2", "meta-llama-Llama-3.1-8B-Instruct", "Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B",
         "mistralai-Mistral-Nemo-Instruct-2407"]
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
# What some templates would otherwise take from the clock.
FIXED = {"date_string": "26 Jul 2024"}

WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "The weather <now> & later, in \"°C\"",
    "parameters": {"type": "object", "properties": {"place": {"type": "string", "description": "Where"}},
                   "required": ["place"]}}}
CALL = {"id": "callabcde", "type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich"}}}

CONVERSATIONS = {
    "one question": {"messages": [{"role": "user", "content": "What is a loom?"}]},
    "system, two turns": {"messages": [
        {"role": "system", "content": "You answer in one line.  "},
        {"role": "user", "content": "  <b>Hello</b> & 'good' \"day\" \n"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "日本語で?"}]},
    "no generation prompt": {"add_generation_prompt": False, "messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "thinking": {"extra": {"enable_thinking": False}, "messages": [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2", "reasoning_content": "One and one."},
        {"role": "user", "content": "2+2?"}]},
    "tools": {"tools": [WEATHER], "messages": [{"role": "user", "content": "Weather in Zürich?"}]},
    "tool call and answer": {"tools": [WEATHER], "messages": [
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "callabcde", "name": "weather", "content": "21 °C"}]},
    "wrong order": {"messages": [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}]},
}


def render(template, conversation):
    messages = [{key: value for key, value in message.items() if value is not None}
                for message in conversation["messages"]]
    extra = {**FIXED, **conversation.get("extra", {})}
    rendered, _ = chat_template_utils.render_jinja_template(
        [messages], tools=conversation.get("tools"), chat_template=template,
        add_generation_prompt=conversation.get("add_generation_prompt", True), **{**SPECIAL_TOKENS, **extra})
    return rendered[0]


def render_on(day, template, conversation):
    """The text; None where rendering is an error."""
    with unittest.mock.patch.object(chat_template_utils, "datetime") as clock:
        clock.now.return_value = day
        try:
            return render(template, conversation)
        except Exception:
            return None


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def main():
    templates = {path.stem: path.read_text() for path in sorted(TEMPLATES.glob("*.jinja"))}
    fields = gguf.GGUFReader(CACHE / "models/smollm2.gguf").fields
    templates["SmolLM2"] = fields["tokenizer.chat_template"].contents()
    rendered, digests = {}, {}
    for name, template in templates.items():
        texts = {}
        for title, conversation in CONVERSATIONS.items():
            text = render_on(datetime.datetime(2020, 1, 2), template, conversation)
            if text == render_on(datetime.datetime(2021, 3, 4), template, conversation):
                texts[title] = text
        if name in SHOWN:
            rendered[name] = texts
        digests[name] = {title: None if text is None else fnv1a(text) for title, text in texts.items()}
    conversations = {title: {"messages": conversation["messages"], "tools": conversation.get("tools"),
                             "add_generation_prompt": conversation.get("add_generation_prompt", True),
                             "extra": {**FIXED, **conversation.get("extra", {})}}
                     for title, conversation in CONVERSATIONS.items()}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for file, content in {"rendered": rendered, "digests": digests}.items():
        content = {"conversations": conversations, "templates": content}
        (OUTPUT / f"{file}.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
