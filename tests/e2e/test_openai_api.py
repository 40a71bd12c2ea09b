"""The stock OpenAI client against /v1."""

import math

import openai
import pytest

from conftest import ADAPTERS, DATA, MODEL, adapter_path, expected, float32

PROMPT = "once upon a time"
LOGPROB_TOLERANCE = 1e-3


def complete(client, **kwargs):
    kwargs = {"model": "tiny", "prompt": PROMPT, "max_tokens": 8, "temperature": 0} | kwargs
    extra = {"ignore_eos": True} | kwargs.pop("extra_body", {})
    return client.completions.create(**kwargs, extra_body=extra)


def chat(client, **kwargs):
    messages = [{"role": "user", "content": "hello"}]
    kwargs = {"model": "tiny", "messages": messages, "max_tokens": 8, "temperature": 0} | kwargs
    extra = {"ignore_eos": True} | kwargs.pop("extra_body", {})
    return client.chat.completions.create(**kwargs, extra_body=extra)


def test_models_lists_base_and_adapters(client):
    cards = {card.id: card for card in client.models.list()}
    assert set(cards) >= {"tiny", *ADAPTERS}
    assert cards["tiny"].object == "model"
    assert cards["r8"].root == adapter_path("r8")
    assert cards["r8"].parent == "tiny"
    assert client.models.retrieve("r8").id == "r8"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_completion(client):
    reply = complete(client)
    assert reply.object == "text_completion"
    assert reply.id.startswith("cmpl-")
    assert reply.model == "tiny"
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0


def test_stream_says_the_same_as_the_whole(client):
    whole = complete(client)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 8
    assert len({c.id for c in chunks}) == 1


def test_n_choices_and_batches_are_indexed(client):
    reply = complete(client, prompt=[PROMPT, "other"], n=2, temperature=1, seed=3)
    assert [c.index for c in reply.choices] == [0, 1, 2, 3]
    seen = {c.choices[0].index for c in complete(client, prompt=[PROMPT, "other"], n=2, stream=True)}
    assert seen == {0, 1, 2, 3}


def test_seed_repeats(client):
    first, again, other = (complete(client, temperature=1, seed=seed, max_tokens=24).choices[0].text
                           for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_logit_bias_forces_a_token(client):
    reply = complete(client, logit_bias={"66": 100}, logprobs=1)
    assert len(set(reply.choices[0].logprobs.tokens)) == 1


def test_stop_string_is_not_in_the_text(client):
    text = complete(client, max_tokens=24).choices[0].text
    stop = text[5:7]
    reply = complete(client, max_tokens=24, stop=stop)
    assert reply.choices[0].text == text[:text.index(stop)]
    assert reply.choices[0].finish_reason == "stop"


@float32
@pytest.mark.parametrize("entry", [e for e in expected(MODEL) if len(e["ids"]) > 1],
                         ids=lambda entry: f"{len(entry['ids'])} tokens")
def test_echoed_logprobs_equal_transformers(client, entry):
    reply = complete(client, prompt=entry["ids"], echo=True, logprobs=1, max_tokens=1)
    logprobs = reply.choices[0].logprobs.token_logprobs
    assert logprobs[0] is None
    wanted = entry["float32"]["prompt_logprobs"]
    assert logprobs[1:len(wanted) + 1] == pytest.approx(wanted, abs=LOGPROB_TOLERANCE)
    assert logprobs[-1] == pytest.approx(max(entry["float32"]["last_logprobs"]),
                                         abs=LOGPROB_TOLERANCE)


def test_no_tokens_means_scoring_the_prompt(client):
    reply = complete(client, echo=True, logprobs=0, max_tokens=0)
    assert reply.choices[0].text == PROMPT
    assert len(reply.choices[0].logprobs.tokens) == reply.usage.prompt_tokens
    assert reply.usage.completion_tokens == 0


def test_chat(client):
    reply = chat(client)
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.role == "assistant"
    chunks = list(chat(client, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == reply.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"


def test_chat_logprobs(client):
    reply = chat(client, logprobs=True, top_logprobs=2)
    content = reply.choices[0].logprobs.content
    assert len(content) == 8
    for entry in content:
        assert len(entry.top_logprobs) == 2
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob)  # Greedy.
        assert math.isfinite(entry.logprob)


def test_the_end_token_has_a_logprob_as_the_others(client):
    always_66 = {"logprobs": True, "logit_bias": {"66": 100}}
    whole = chat(client, **always_66)
    ended = chat(client, **always_66, extra_body={"stop_token_ids": [66]})
    assert (ended.choices[0].message.content, ended.usage.completion_tokens) == ("", 1)
    assert ended.choices[0].logprobs.content == whole.choices[0].logprobs.content[:1]


def test_every_way_to_name_an_adapter_is_the_same(client):
    by_name = complete(client, model="r8").choices[0].text
    assert complete(client, model="tiny:r8").choices[0].text == by_name
    assert complete(client, extra_body={"lora_path": "r8"}).choices[0].text == by_name
    assert by_name != complete(client).choices[0].text


@float32
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters_logprobs_equal_pefts(client, adapter):
    for entry in expected(DATA / "adapters" / adapter):
        reply = complete(client, model=adapter, prompt=entry["ids"], max_tokens=1, logprobs=0)
        assert reply.choices[0].logprobs.token_logprobs[0] == pytest.approx(
            max(entry["float32"]["last_logprobs"]), abs=LOGPROB_TOLERANCE)


def test_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as error:
        complete(client, model="nobody")
    assert "nobody" in error.value.message and "the base model is 'tiny'" in error.value.message
    with pytest.raises(openai.NotFoundError):
        list(complete(client, model="nobody", stream=True))


@pytest.mark.parametrize("fields, word", [
    ({"prompt": "x " * 600}, "maximum context length"),
    ({"max_tokens": 100_000}, "maximum context length"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [10**6]}, "vocabulary"),
    ({"temperature": -1}, "temperature"),
    ({"top_p": 7}, "top_p"),
    ({"suffix": "x"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"logprobs": 99}, "asked for in logprobs"),
    ({"extra_body": {"min_p": "x"}}, "min_p"),
])
def test_bad_completions_name_what_is_wrong(client, fields, word):
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, **fields)
    assert word in error.value.message


@pytest.mark.parametrize("fields, word", [
    ({"messages": []}, "messages"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     "image_url"),
    ({"top_logprobs": 2}, "top_logprobs"),
])
def test_bad_chats_name_what_is_wrong(client, fields, word):
    with pytest.raises(openai.BadRequestError) as error:
        chat(client, **fields)
    assert word in error.value.message
