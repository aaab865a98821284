"""The mocked providers themselves: each takes a good request and refuses what the real one would refuse."""

import copy
import http.client
import json

import pytest

import cases
from replies import Refusal, Thought, say
from wires import HAS_TYPES, MODELS, WIRES, Providers, Seen, key_for

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages", "gemini": "/v1beta/models/gemini-3-pro:generateContent"}
HEADERS = {
    "chat": {"authorization": f"Bearer {key_for('chat')}"}, "responses": {"authorization": f"Bearer {key_for('responses')}"},
    "messages": {"x-api-key": key_for("messages"), "anthropic-version": "2023-06-01"}, "gemini": {"x-goog-api-key": key_for("gemini")},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
GOOD = {
    "chat": {
        "model": MODELS["chat"], "max_completion_tokens": 9, "tools": [{"type": "function", "function": {"name": "get_time", "parameters": cases.NOTHING}}],
        "messages": [
            {"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "12:00"},
        ],
    },
    "responses": {
        "model": MODELS["responses"], "store": False, "tools": [{"type": "function", "name": "get_time", "parameters": cases.NOTHING, "strict": False}],
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": cases.THOUGHT}], "encrypted_content": cases.SEAL},
            {"type": "function_call", "call_id": "c1", "name": "get_time", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "12:00"},
        ],
    },
    "messages": {
        "model": MODELS["messages"], "max_tokens": 4000, "tools": [{"name": "get_time", "input_schema": cases.NOTHING}],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": cases.THOUGHT, "signature": cases.SEAL}, {"type": "tool_use", "id": "c1", "name": "get_time", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "12:00"}, {"type": "text", "text": "well?"}]},
        ],
    },
    "gemini": {
        "tools": [{"functionDeclarations": [{"name": "get_time"}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "get_time", "args": {}}, "thoughtSignature": "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "get_time", "response": {"result": "12:00"}}}]},
        ],
    },
}
NOTHING = object()
# What a change of the good request makes wrong: the place, and what is put there (`NOTHING` takes it out).
WRONG = {
    "chat": [
        (("model",), "gpt-4"), (("messages",), []), (("messages", 0, "role"), "person"), (("messages", 2, "tool_call_id"), "c2"), (("messages", 2), NOTHING),
        (("messages", 1, "tool_calls", 0, "function", "arguments"), {}), (("messages", 1, "tool_calls", 0, "function", "arguments"), ""), (("top_k",), 3),
        (("tools", 0), {"type": "function", "name": "get_time"}), (("stop",), list("abcde")), (("stream_options",), {"include_usage": True}),
        (("messages", 2, "content"), [{"type": "image_url", "image_url": {"url": cases.PIXEL_URL}}]), (("max_completion_tokens",), "9"), (("temperature",), 3),
    ],
    "responses": [
        (("store",), "no"), (("input", 3, "call_id"), "c2"), (("input", 3), NOTHING), (("input", 2, "arguments"), {}), (("input", 2, "id"), "call_1"),
        (("input", 1, "encrypted_content"), "other"), (("input", 1, "encrypted_content"), NOTHING), (("input", 2), NOTHING), (("max_tokens",), 9),
        (("max_output_tokens",), 9), (("tools", 0), {"type": "function", "function": {"name": "get_time"}}),
        (("input", 0, "content"), [{"type": "text", "text": "hi"}]), (("stop",), ["a"]), (("previous_response_id",), "resp_1"),
    ],
    "messages": [
        (("max_tokens",), NOTHING), (("max_tokens",), 2000), (("messages", 0), NOTHING), (("messages", 2, "content", 0), NOTHING), (("temperature",), 0.5),
        (("messages", 1, "content", 0), NOTHING), (("messages", 1, "content", 0, "signature"), "other"), (("messages", 1, "content", 0, "thinking"), "other"),
        (("messages", 1, "content", 1, "input"), "{}"), (("messages", 1, "content", 1, "id"), "c/1"), (("tool_choice",), {"type": "any"}),
        (("messages", 2, "content", 1, "text"), " "), (("stop",), ["a"]), (("tools", 0, "name"), "get time"), (("metadata",), {"a": "b"}),
    ],
    "gemini": [
        (("contents",), []), (("contents", 0, "parts"), []), (("contents", 0), NOTHING), (("contents", 2), NOTHING), (("model",), "gemini-3-pro"),
        (("contents", 1, "parts", 0, "thoughtSignature"), NOTHING), (("contents", 1, "parts", 0, "thoughtSignature"), "b3RoZXI="),
        (("contents", 1, "parts", 0, "functionCall", "args"), "{}"), (("contents", 2, "parts", 0, "functionResponse", "response"), "12:00"),
        (("contents", 2, "parts", 0, "functionResponse", "name"), "get_weather"), (("contents", 1, "role"), "assistant"), (("generationConfig",), {"max_tokens": 3}),
        (("toolConfig",), {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["get_time"]}}),
        (("generationConfig",), {"responseJsonSchema": cases.PERSON}), (("contents", 0, "parts", 0), {"text": "hi", "image": "x"}),
    ],
}


@pytest.fixture(scope="module")
def mock():
    made = Providers()
    yield made
    made.close()


def taken(mock, wire, body, headers=None):
    """What the mock makes of a request after it has given out one sealed thought."""
    mock.clear()
    mock.answer(wire, say(Thought(cases.THOUGHT, cases.SEAL), "fine"))
    first = {"chat": "messages", "responses": "input", "messages": "messages", "gemini": "contents"}[wire]
    opening = copy.deepcopy(GOOD[wire]) | {first: GOOD[wire][first][:1]}
    mock.take(Seen(wire, PATHS[wire], HEADERS[wire], opening), wire)
    return mock.take(Seen(wire, PATHS[wire], HEADERS[wire] if headers is None else headers, body), wire)


def changed(body, place, value):
    body = copy.deepcopy(body)
    inner = body
    for step in place[:-1]:
        inner = inner[step]
    if value is NOTHING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return body


def test_a_good_request_is_taken(mock, wire):
    assert HAS_TYPES, "the SDKs whose types are the measure are installed"
    assert taken(mock, wire, GOOD[wire]).text == "fine", mock.refused
    assert not mock.refused
    assert [turn[0] for turn in mock.last.turns][-2:] in (["call", "result"], ["result", "user"])


@pytest.mark.parametrize("wire, place, value", [(wire, *row) for wire, rows in WRONG.items() for row in rows])
def test_a_wrong_request_is_refused(mock, wire, place, value):
    answer = taken(mock, wire, changed(GOOD[wire], place, value))
    assert isinstance(answer, Refusal) and answer.status == 400 and len(mock.refused) == 1, answer


def test_another_key_is_refused(mock, wire):
    assert taken(mock, wire, GOOD[wire], {"anthropic-version": "2023-06-01", "authorization": "Bearer x", "x-api-key": "x"}).status == 401


def test_newer_messages_take_no_temperature(mock):
    newer = HEADERS["messages"] | {"anthropic-version": "2026-10-21"}
    body = {name: value for name, value in GOOD["messages"].items() if name != "thinking"} | {"temperature": 1}
    assert taken(mock, "messages", body).text == "fine"
    assert taken(mock, "messages", body, newer).status == 400


@pytest.mark.parametrize("broken", [None, "error", "ended"])
def test_a_broken_stream_has_no_end_mark(mock, wire, broken):
    mock.clear()
    mock.answer(wire, say(cases.TEXT, broken=broken))
    first = {"chat": "messages", "responses": "input", "messages": "messages", "gemini": "contents"}[wire]
    body = GOOD[wire] | {first: GOOD[wire][first][:1]} | ({} if wire == "gemini" else {"stream": True})
    path = PATHS[wire].replace(":generateContent", ":streamGenerateContent?alt=sse")
    connection = http.client.HTTPConnection(mock.url.removeprefix("http://"), timeout=10)
    connection.request("POST", f"/{wire}{path}", json.dumps(body), HEADERS[wire])
    text = connection.getresponse().read().decode()
    connection.close()
    mark = {"chat": "[DONE]", "responses": "response.completed", "messages": "message_stop", "gemini": '"finishReason"'}[wire]
    assert (mark in text) == (broken is None)
    assert ("broke down" in text) == (broken == "error")
    assert set(WIRES) == set(PATHS)
