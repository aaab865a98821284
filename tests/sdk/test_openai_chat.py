"""The official OpenAI SDK's chat completions in front of every wire."""

import json

import openai
import pydantic
import pytest

import cases
from bed import model_on
from programs import KEY
from replies import Call, Refusal, Thought, say

ASK = [{"role": "system", "content": cases.SYSTEM}, {"role": "user", "content": cases.QUESTION}]
TOOLS = [{"type": "function", "function": {"name": name, "description": text, "parameters": schema}} for name, text, schema in cases.TOOLS]


def plain(message, **more):
    """The message without what only the SDK's own objects have: it would send that on, and the provider's types know nothing of it."""
    known = message.model_dump(exclude_none=True, exclude={"parsed": True, "tool_calls": {"__all__": {"index": True, "function": {"parsed_arguments"}}}})
    return known | more


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def sdk(router):
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=30, _strict_response_validation=True) as made:
        yield made


@pytest.fixture(params=["whole", "streamed"])
def ask(request, sdk, wire):
    """Asks for an answer as a whole, or for a stream that the SDK puts together."""

    def whole(**more):
        return sdk.chat.completions.create(model=model_on(wire), **{"messages": ASK, **more})

    def streamed(**more):
        options = {"stream_options": {"include_usage": True}}
        with sdk.chat.completions.stream(model=model_on(wire), **{"messages": ASK, **options, **more}) as stream:
            for _ in stream:
                pass
            return stream.get_final_completion()

    return whole if request.param == "whole" else streamed


def test_a_text_is_answered(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    answer = ask(max_tokens=50, temperature=0.5)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (cases.TEXT, "stop")
    assert answer.choices[0].message.role == "assistant" and answer.object == "chat.completion"
    assert answer.choices[0].message.tool_calls is None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 7, 18)
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", cases.QUESTION)]
    assert (providers.last.settings["max"], providers.last.settings["temperature"]) == (50, 0.5)


def test_a_stream_comes_in_pieces_with_one_id(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    chunks = list(sdk.chat.completions.create(model=model_on(wire), messages=ASK, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert sum(bool(delta.content) for delta in deltas) > 2
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert "".join(delta.content or "" for delta in deltas) == cases.TEXT
    assert not any(chunk.usage for chunk in chunks), "usage was not asked for"


def test_tools_are_called_and_their_results_go_back(ask, wire, providers):
    providers.answer(wire, cases.calls(wire, "I look it up."), say(cases.TEXT))
    message = ask(tools=TOOLS).choices[0].message
    assert message.content == "I look it up."
    made = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
    assert made == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    assert len({call.id for call in message.tool_calls}) == 2
    assert providers.last.settings["tools"] == ["get_weather", "get_time"]
    results = [{"role": "tool", "tool_call_id": call.id, "content": cases.RESULTS[call.function.name]} for call in message.tool_calls]
    answer = ask(tools=TOOLS, messages=[*ASK, plain(message), *results])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (cases.TEXT, "stop")
    cases.assert_results_came(providers.last)


def test_calls_end_with_their_own_reason(ask, wire, providers):
    providers.answer(wire, cases.calls(wire))
    answer = ask(tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert not answer.choices[0].message.content


@pytest.mark.parametrize("choice, wanted", [
    ("auto", "auto"), ("required", "required"), ("none", "none"), ({"type": "function", "function": {"name": "get_time"}}, ("function", "get_time")),
])
def test_a_choice_of_tools_arrives(ask, wire, providers, choice, wanted):
    providers.answer(wire, say("no", Call("call_1", "get_time", {}, cases.SEAL)))
    ask(tools=TOOLS, tool_choice=choice)
    assert providers.last.settings["choice"] == wanted


def test_results_of_other_providers_calls_are_taken(ask, wire, providers):
    """A history that began elsewhere: ids of any form, text beside calls, more text after the results. Another conversation, in which
    the same calls were made after some thought, has no place in it."""
    providers.answer(wire, cases.thinking_calls(wire), say(cases.TEXT))
    ask(tools=TOOLS)
    call = {"id": "call/of another:provider|1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    time = {"id": "call 2", "type": "function", "function": {"name": "get_time", "arguments": ""}}
    if wire == "chat":
        time["function"]["arguments"] = "{}"
    ask(tools=TOOLS, messages=[
        {"role": "user", "content": "Another question, of somebody else."}, {"role": "assistant", "content": "I look.", "tool_calls": [call, time]},
        {"role": "tool", "tool_call_id": call["id"], "content": cases.RESULTS["get_weather"]},
        {"role": "tool", "tool_call_id": time["id"], "content": cases.RESULTS["get_time"]},
        {"role": "user", "content": "And tomorrow?"},
    ])
    cases.assert_results_came(providers.last)
    assert providers.last.turns[-1] == ("user", "And tomorrow?")
    assert not providers.last.of("thought"), providers.last.turns


def test_an_image_arrives(ask, wire, providers):
    providers.answer(wire, say("a pixel"))
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": cases.PIXEL_URL}}]
    ask(messages=[{"role": "user", "content": parts}])
    assert providers.last.turns == [("user", "What is this?"), ("image", cases.PIXEL_URL)]


def test_reasoning_is_shown(ask, wire, providers):
    providers.answer(wire, say(Thought(cases.THOUGHT, cases.SEAL), cases.TEXT))
    message = ask(reasoning_effort="high").choices[0].message
    assert message.content == cases.TEXT
    assert message.model_extra["reasoning_content"] == cases.THOUGHT
    assert providers.last.settings["effort"] == "high"


@pytest.mark.parametrize("keeps_all", [True, False], ids=["client_keeps_all", "client_keeps_what_it_knows"])
def test_reasoning_comes_back_to_its_provider(ask, wire, providers, keeps_all):
    providers.answer(wire, cases.thinking_calls(wire), say(cases.TEXT))
    message = ask(tools=TOOLS, reasoning_effort="high").choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": cases.RESULTS[call.function.name]} for call in message.tool_calls]
    message = plain(message)
    if not keeps_all or wire == "chat":
        # OpenAI itself knows no such member, so where chat is the wire the measure has none.
        message = {name: message[name] for name in ("role", "content", "tool_calls") if name in message}
    answer = ask(tools=TOOLS, reasoning_effort="high", messages=[*ASK, message, *results])
    assert answer.choices[0].message.content == cases.TEXT
    cases.assert_results_came(providers.last)
    cases.assert_thought_came_back(providers.last)


def test_a_schema_is_followed(sdk, wire, providers):
    providers.answer(wire, say(cases.PERSON_TEXT))
    answer = sdk.chat.completions.parse(model=model_on(wire), messages=ASK, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)
    cases.assert_schema_came(providers.last)
    with sdk.chat.completions.stream(model=model_on(wire), messages=ASK, response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Person(name="Ada", age=36)
    cases.assert_schema_came(providers.last)


def test_an_answer_that_is_too_long_says_so(ask, sdk, wire, providers):
    providers.answer(wire, say("It is", stop="length"))
    try:
        answer = ask(max_completion_tokens=16)
    except openai.LengthFinishReasonError as error:
        answer = error.completion
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("It is", "length")
    assert providers.last.settings["max"] == 16
    with pytest.raises(openai.LengthFinishReasonError):
        sdk.chat.completions.parse(model=model_on(wire), messages=ASK, response_format=Person)


def test_a_stop_string_arrives_or_its_loss_is_said(sdk, wire, providers):
    providers.answer(wire, say("It is", stop="stop_sequence", stop_sequence="END"))
    raw = sdk.chat.completions.with_raw_response.create(model=model_on(wire), messages=ASK, stop=["END", "STOP"])
    answer = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("It is", "stop")
    if wire == "responses":
        assert "stop" in raw.headers["x-llm-router-fidelity"]
    else:
        assert providers.last.settings["stop"] == ["END", "STOP"]


def test_a_refusal_is_one(ask, wire, providers):
    providers.answer(wire, say("I will not.", stop="refusal"))
    try:
        choice = ask().choices[0]
    except openai.ContentFilterFinishReasonError:
        return
    assert choice.finish_reason == "content_filter" or choice.message.refusal == "I will not."
    assert "I will not." in (choice.message.content, choice.message.refusal)


def test_tokens_of_caches_and_reasoning_are_told_apart(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    usage = ask().usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (160, 14, 174)
    assert usage.prompt_tokens_details.cached_tokens == 40
    assert usage.completion_tokens_details.reasoning_tokens == 5
    if wire != "gemini":
        assert usage.prompt_tokens_details.model_dump()["cache_write_tokens"] == 20


def test_a_wrong_key_and_an_unknown_model_are_typed(ask, sdk, wire, providers):
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.with_options(api_key="sk-wrong").chat.completions.create(model=model_on(wire), messages=ASK)
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(model="no-such-model", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert not providers.seen


@pytest.mark.parametrize("status, kind", [
    (400, openai.BadRequestError), (413, openai.APIStatusError), (429, openai.RateLimitError), (401, openai.InternalServerError),
    (500, openai.InternalServerError), (503, openai.InternalServerError),
])
def test_an_error_of_the_provider_is_typed(ask, wire, providers, status, kind):
    providers.answer(wire, Refusal(status, "the provider says no", {"retry-after": "7"} if status == 429 else {}))
    with pytest.raises(kind) as caught:
        ask()
    assert caught.value.status_code == {401: 502, 500: 502}.get(status, status)
    assert caught.value.body["message"]
    if status in (400, 413):
        assert "the provider says no" in str(caught.value)
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"
    assert "sk-upstream" not in str(caught.value)


@pytest.mark.parametrize("how", ["error", "ended", "closed"])
def test_a_stream_that_breaks_raises(sdk, wire, providers, how):
    providers.answer(wire, say(cases.TEXT, broken=how))
    text = ""
    with pytest.raises(openai.APIError):
        for chunk in sdk.chat.completions.create(model=model_on(wire), messages=ASK, stream=True):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            assert not any(choice.finish_reason for choice in chunk.choices)
    assert text == cases.TEXT


@pytest.mark.parametrize("how", ["error", "ended", "closed"])
def test_calls_that_break_raise(sdk, wire, providers, how):
    reply = cases.calls(wire)
    providers.answer(wire, say(*reply.parts, broken=how))
    with pytest.raises(openai.APIError), sdk.chat.completions.stream(model=model_on(wire), messages=ASK, tools=TOOLS) as stream:
        stream.get_final_completion()


def test_models_of_all_wires_are_listed(sdk, wire):
    assert model_on(wire) in {model.id for model in sdk.models.list()}
    assert sdk.models.retrieve(model_on(wire)).id == model_on(wire)


def test_a_silence_in_a_stream_is_kept_alive(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT, pause_s=0.35))
    settings = {"model": model_on(wire), "messages": ASK, "stream": True}
    with sdk.chat.completions.with_streaming_response.create(**settings) as raw:
        assert sum(line.startswith(":") for line in raw.iter_lines()) >= 1
    chunks = list(sdk.chat.completions.create(**settings))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == cases.TEXT


def test_a_late_word_of_the_system_arrives(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    late = {"role": "system", "content": "From now on in French."}
    ask(messages=[*ASK, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Well?"}, late])
    spoken = [turn[1] for turn in providers.last.turns]
    assert cases.SYSTEM in spoken and any("From now on in French." in text for text in spoken)


def test_a_file_arrives(ask, wire, providers):
    providers.answer(wire, say("a page"))
    data = "data:application/pdf;base64,JVBERi0xLjQK"
    part = {"type": "file", "file": {"filename": "page.pdf", "file_data": data}}
    ask(messages=[{"role": "user", "content": [{"type": "text", "text": "Read this."}, part]}])
    assert "JVBERi0xLjQK" in json.dumps(providers.last.body)


def test_what_a_provider_does_not_know_is_said_and_strict_refuses_it(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    lost = {"logit_bias": {"50256": -100}} if wire == "gemini" else {"seed": 7}
    settings = {"model": model_on(wire), "messages": ASK, **lost}
    raw = sdk.chat.completions.with_raw_response.create(**settings)
    strict = {"x-llm-router-strict": "true"}
    if wire == "chat":
        assert raw.headers["x-llm-router-fidelity"] == "exact"
        assert sdk.chat.completions.create(**settings, extra_headers=strict).choices[0].message.content == cases.TEXT
        return
    assert next(iter(lost)) in raw.headers["x-llm-router-fidelity"]
    assert raw.parse().choices[0].message.content == cases.TEXT
    before = len(providers.seen)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**settings, extra_headers=strict)
    assert caught.value.code == "lossy_translation" and len(providers.seen) == before
    assert sdk.chat.completions.create(model=model_on(wire), messages=ASK, extra_headers=strict).choices[0].message.content == cases.TEXT


@pytest.mark.parametrize("wire", ["responses"], indirect=True)
def test_what_responses_does_by_default_is_not_wished(ask, wire, providers):
    """A provider of Responses stores answers and holds tools to their schema unless told otherwise; chat does neither."""
    providers.answer(wire, say(cases.TEXT))
    ask(tools=TOOLS)
    assert providers.last.body["store"] is False
    assert [tool["strict"] for tool in providers.last.body["tools"]] == [False, False]
