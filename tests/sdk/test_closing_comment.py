"""Streams that end with a comment of what they came to, read by the official SDKs as any others."""

import json
import urllib.request

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

import cases
from bed import model_on
from programs import KEY
from replies import say

TOLD = {"x-router-debug": "1"}
ASK = [{"role": "user", "content": cases.QUESTION}]


@pytest.fixture(autouse=True)
def two_answers(wire, providers):
    """The second shows that the connection of the first can be used again."""
    providers.answer(wire, say(cases.TEXT))
    providers.answer(wire, say(cases.TEXT))


def test_openai_chat_and_responses(router, wire):
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=30, default_headers=TOLD) as sdk:
        chunks = list(sdk.chat.completions.create(model=model_on(wire), messages=ASK, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == cases.TEXT
        events = list(sdk.responses.create(model=model_on(wire), input=cases.QUESTION, store=False, stream=True))
        assert events[-1].type == "response.completed" and events[-1].response.output_text == cases.TEXT


def test_anthropic(router, wire):
    with anthropic.Anthropic(base_url=router.url, api_key=KEY, max_retries=0, timeout=30, default_headers=TOLD) as sdk:
        for _ in range(2):
            with sdk.messages.stream(model=model_on(wire), max_tokens=100, messages=ASK) as stream:
                assert stream.get_final_text() == cases.TEXT


def test_google(router, wire):
    sdk = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=router.url, timeout=30_000, headers=TOLD))
    for _ in range(2):
        chunks = sdk.models.generate_content_stream(model=model_on(wire), contents=cases.QUESTION)
        assert "".join(chunk.text or "" for chunk in chunks) == cases.TEXT
    sdk.close()


def test_it_is_there(router, wire):
    for path, more in [("/v1/chat/completions", {}), ("/v1/messages", {"max_tokens": 100})]:
        body = json.dumps({"model": model_on(wire), "messages": ASK, "stream": True} | more).encode()
        headers = TOLD | {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(router.url + path, data=body, headers=headers), timeout=30) as answer:
            last = answer.read().decode().rstrip("\n").splitlines()[-1]
        assert last.startswith(": router ") and json.loads(last.removeprefix(": router "))["completion_tokens"] == 7, last
