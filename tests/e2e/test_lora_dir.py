"""--lora-dir: adapters that are found when they are first asked for."""

import shutil
import time

import pytest

from conftest import DATA

GREEDY = {"max_new_tokens": 4, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DATA / "adapters" / "r8", tmp_path / "good")
    shutil.copytree(DATA / "adapters" / "r8", tmp_path / "broken")
    (tmp_path / "broken" / "adapter_config.json").write_text("{")
    return tmp_path


def ask(server, adapter):
    return server.post("/generate", {"text": "hello", "lora_path": adapter, "sampling_params": GREEDY})


def test_an_adapter_is_found_by_the_name_of_its_folder(start, folder):
    server = start("--lora-dir", str(folder))
    assert ask(server, "good").status_code == 200
    missing = ask(server, "nobody")
    assert missing.status_code >= 400
    assert "--lora-dir" in missing.text


def test_a_mended_folder_is_served_when_the_message_says(start, folder):
    server = start("--lora-dir", str(folder))
    first = ask(server, "broken")
    assert first.status_code == 400 and "adapter_config.json" in first.text
    shutil.copy(folder / "good" / "adapter_config.json", folder / "broken")
    again = ask(server, "broken")
    assert again.status_code == 400 and "looked at again in" in again.text
    time.sleep(5)
    assert ask(server, "broken").json()["text"] == ask(server, "good").json()["text"]
