"""The official Anthropic SDK in front of every wire. The same tests hold for its newest and for an older major version."""

import re

import anthropic
import pytest

import cases
from bed import model_on
from programs import KEY, MODEL
from replies import Call, Refusal, Thought, say

TOOLS = [{"name": name, "description": text, "input_schema": schema} for name, text, schema in cases.TOOLS]
USER = {"role": "user", "content": cases.QUESTION}
SPEAKS_NEWEST = int(anthropic.__version__.split(".")[0]) >= 2
THINK = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}


def sdk_for(router, **credential):
    credential = credential or {"api_key": KEY}
    return anthropic.Anthropic(base_url=router.url, max_retries=0, timeout=30, _strict_response_validation=True, **credential)


@pytest.fixture
def sdk(router):
    with sdk_for(router) as made:
        yield made


@pytest.fixture(params=["whole", "streamed"])
def ask(request, sdk, wire):
    """Asks for an answer as a whole, or for a stream that the SDK puts together."""

    def settings(more):
        return {"model": model_on(wire), "max_tokens": 1000, "system": cases.SYSTEM, "messages": [USER], **more}

    def whole(**more):
        return sdk.messages.create(**settings(more))

    def streamed(**more):
        with sdk.messages.stream(**settings(more)) as stream:
            events = [event.type for event in stream]
            assert events[0] == "message_start" and events[-1] == "message_stop"
            assert events.count("content_block_start") == events.count("content_block_stop")
            return stream.get_final_message()

    return whole if request.param == "whole" else streamed


def results_of(message, **content):
    """The results of all calls, as the next turn of the user."""
    calls = [block for block in message.content if block.type == "tool_use"]
    return {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call.id, "content": content.get(call.name, cases.RESULTS[call.name])} for call in calls
    ]}


def plain(message):
    """An answer as the history of the next question, as the SDK itself writes it, less what streams put together add to it."""
    return {"role": "assistant", "content": [block.to_dict() if hasattr(block, "to_dict") else block for block in message.content]}


def test_a_text_is_answered(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    message = ask()
    assert (message.type, message.role, message.stop_reason, message.stop_sequence) == ("message", "assistant", "end_turn", None)
    assert [(block.type, block.text) for block in message.content] == [("text", cases.TEXT)]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 7)
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", cases.QUESTION)]
    assert providers.last.settings["max"] == 1000


def test_settings_arrive(sdk, wire, providers):
    providers.answer(wire, say("It is", stop="stop_sequence", stop_sequence="END"))
    # The version of the API that the newest SDK speaks takes no temperature; other providers do.
    sampling = {} if SPEAKS_NEWEST and wire == "messages" else {"temperature": 0.5}
    raw = sdk.messages.with_raw_response.create(
        model=model_on(wire), max_tokens=20, messages=[USER], stop_sequences=["END"], extra_body=sampling,
    )
    message = raw.parse()
    assert message.content[0].text == "It is"
    assert (providers.last.settings["max"], providers.last.settings["temperature"]) == (20, sampling.get("temperature"))
    if wire == "messages":
        assert providers.last.headers["anthropic-version"] == ("2026-10-21" if SPEAKS_NEWEST else "2023-06-01")
    # Only Anthropic says which of the strings it was.
    assert message.stop_reason == ("stop_sequence" if wire == "messages" else "end_turn")
    if wire == "responses":
        assert "stop" in raw.headers["x-llm-router-fidelity"]
    else:
        assert providers.last.settings["stop"] == ["END"]


def test_a_stream_comes_in_pieces(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    with sdk.messages.stream(model=model_on(wire), max_tokens=100, messages=[USER]) as stream:
        pieces = list(stream.text_stream)
    assert len(pieces) > 2 and "".join(pieces) == cases.TEXT


def test_tools_are_called_and_their_results_go_back(ask, wire, providers):
    providers.answer(wire, cases.calls(wire, "I look it up."), say(cases.TEXT))
    message = ask(tools=TOOLS)
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [(block.name, block.input) for block in message.content[1:]] == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    assert providers.last.settings["tools"] == ["get_weather", "get_time"]
    message = ask(tools=TOOLS, messages=[USER, plain(message), results_of(message)])
    assert (message.content[0].text, message.stop_reason) == (cases.TEXT, "end_turn")
    cases.assert_results_came(providers.last)


def test_text_after_results_comes_after_them(ask, wire, providers):
    providers.answer(wire, cases.calls(wire), say(cases.TEXT))
    message = ask(tools=TOOLS)
    results = results_of(message)
    results["content"].append({"type": "text", "text": "And tomorrow?"})
    ask(tools=TOOLS, messages=[USER, plain(message), results])
    cases.assert_results_came(providers.last)
    assert providers.last.turns[-1] == ("user", "And tomorrow?")


def test_a_failed_result_is_told(ask, wire, providers):
    providers.answer(wire, cases.calls(wire), say(cases.TEXT))
    message = ask(tools=TOOLS)
    results = results_of(message, get_weather="no such city")
    results["content"][0]["is_error"] = True
    ask(tools=TOOLS, messages=[USER, plain(message), results])
    assert "no such city" in providers.last.of("result")[0][2]


@pytest.mark.parametrize("choice, wanted", [
    ({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none"), ({"type": "tool", "name": "get_time"}, ("function", "get_time")),
])
def test_a_choice_of_tools_arrives(ask, wire, providers, choice, wanted):
    providers.answer(wire, say("no", Call("call_1", "get_time", {}, cases.SEAL)))
    ask(tools=TOOLS, tool_choice=choice)
    assert providers.last.settings["choice"] == wanted


def test_one_call_at_a_time_arrives_or_its_loss_is_said(sdk, wire, providers):
    providers.answer(wire, say("no"))
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    raw = sdk.messages.with_raw_response.create(model=model_on(wire), max_tokens=100, messages=[USER], tools=TOOLS, tool_choice=choice)
    body = providers.last.body
    if wire == "gemini":
        assert "parallel_tool_calls" in raw.headers["x-llm-router-fidelity"]
    else:
        assert body.get("parallel_tool_calls") is False or body["tool_choice"]["disable_parallel_tool_use"] is True


def test_an_image_arrives(ask, wire, providers):
    providers.answer(wire, say("a pixel"))
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": cases.PIXEL}}
    ask(messages=[{"role": "user", "content": [image, {"type": "text", "text": "What is this?"}]}])
    assert providers.last.turns[1:] == [("image", cases.PIXEL_URL), ("user", "What is this?")]


def test_a_result_with_an_image_arrives(sdk, wire, providers):
    providers.answer(wire, cases.calls(wire), say(cases.TEXT))
    settings = {"model": model_on(wire), "max_tokens": 1000, "tools": TOOLS}
    message = sdk.messages.create(messages=[USER], **settings)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": cases.PIXEL}}
    results = results_of(message, get_weather=[{"type": "text", "text": cases.RESULTS["get_weather"]}, image])
    raw = sdk.messages.with_raw_response.create(messages=[USER, plain(message), results], **settings)
    cases.assert_results_came(providers.last)
    in_result = providers.last.of("result")[0][3]
    # Where a result cannot hold an image it stands beside it, and that is said.
    assert in_result == [cases.PIXEL_URL] or ("lossy" in raw.headers["x-llm-router-fidelity"] and providers.last.of("image") == [("image", cases.PIXEL_URL)])


def test_reasoning_is_shown(ask, wire, providers):
    providers.answer(wire, say(Thought(cases.THOUGHT, cases.SEAL), cases.TEXT))
    message = ask(**THINK)
    assert message.content[0].thinking == cases.THOUGHT
    # A seal of the text itself may stand before it as a thought that nobody can read.
    said = [block for block in message.content if block.type != "redacted_thinking"]
    assert [block.type for block in said] == ["thinking", "text"] and said[1].text == cases.TEXT


def test_reasoning_comes_back_to_its_provider(ask, wire, providers):
    providers.answer(wire, cases.thinking_calls(wire), say(cases.TEXT))
    message = ask(tools=TOOLS, **THINK)
    assert [block.type for block in message.content] == ["thinking", "tool_use", "tool_use"]
    message = ask(tools=TOOLS, **THINK, messages=[USER, plain(message), results_of(message)])
    assert message.content[-1].text == cases.TEXT
    cases.assert_results_came(providers.last)
    cases.assert_thought_came_back(providers.last)


def test_a_schema_is_followed(ask, wire, providers):
    providers.answer(wire, say(cases.PERSON_TEXT))
    message = ask(output_config={"format": {"type": "json_schema", "schema": cases.PERSON}})
    assert message.content[0].text == cases.PERSON_TEXT
    cases.assert_schema_came(providers.last)


def test_an_answer_is_parsed(sdk, wire, providers):
    import pydantic

    class Person(pydantic.BaseModel):
        name: str
        age: int

    providers.answer(wire, say(cases.PERSON_TEXT))
    message = sdk.messages.parse(model=model_on(wire), max_tokens=100, messages=[USER], output_format=Person)
    assert message.parsed_output == Person(name="Ada", age=36)
    cases.assert_schema_came(providers.last)


def test_an_answer_that_is_too_long_says_so(ask, wire, providers):
    providers.answer(wire, say("It is", stop="length"))
    message = ask(max_tokens=16)
    assert (message.content[0].text, message.stop_reason) == ("It is", "max_tokens")


def test_a_refusal_is_one(ask, wire, providers):
    providers.answer(wire, say("I will not.", stop="refusal"))
    message = ask()
    assert (message.stop_reason, [block.text for block in message.content]) == ("refusal", ["I will not."])


def test_tokens_of_caches_are_told_apart(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    usage = ask().usage
    written = 0 if wire == "gemini" else 20
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens or 0) == (120 - written, 40, written)
    assert usage.output_tokens == 14


@pytest.mark.parametrize("credential", [{"api_key": KEY}, {"auth_token": KEY}])
def test_either_header_opens(router, wire, providers, credential):
    providers.answer(wire, say(cases.TEXT))
    with sdk_for(router, **credential) as sdk:
        assert sdk.messages.create(model=model_on(wire), max_tokens=10, messages=[USER]).content[0].text == cases.TEXT
    assert KEY not in str(providers.last.headers), "the caller's credential stays here"


def test_a_wrong_key_and_an_unknown_model_are_typed(router, sdk, wire, providers):
    for credential in ({"api_key": "sk-wrong"}, {"auth_token": "sk-wrong"}):
        with pytest.raises(anthropic.AuthenticationError) as caught, sdk_for(router, **credential) as wrong:
            wrong.messages.create(model=model_on(wire), max_tokens=10, messages=[USER])
        assert caught.value.body["type"] == "error" and caught.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.NotFoundError) as caught:
        sdk.messages.create(model="no-such-model", max_tokens=10, messages=[USER])
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert not providers.seen


@pytest.mark.parametrize("status, kind, word", [
    (400, anthropic.BadRequestError, "invalid_request_error"), (429, anthropic.RateLimitError, "rate_limit_error"),
    (401, anthropic.InternalServerError, "api_error"), (500, anthropic.InternalServerError, "api_error"),
])
def test_an_error_of_the_provider_is_typed(ask, wire, providers, status, kind, word):
    providers.answer(wire, Refusal(status, "the provider says no"))
    with pytest.raises(kind) as caught:
        ask()
    assert caught.value.status_code == {401: 502, 500: 502}.get(status, status)
    assert (caught.value.body["type"], caught.value.body["error"]["type"]) == ("error", word)
    assert status != 400 or "the provider says no" in caught.value.body["error"]["message"]


@pytest.mark.parametrize("how", ["error", "ended", "closed"])
@pytest.mark.parametrize("what", ["text", "calls", "thought"])
def test_a_stream_that_breaks_raises(sdk, wire, providers, how, what):
    parts = {"text": (cases.TEXT,), "calls": cases.calls(wire).parts, "thought": (Thought(cases.THOUGHT, cases.SEAL), cases.TEXT)}[what]
    providers.answer(wire, say(*parts, broken=how))
    with pytest.raises(anthropic.APIError), sdk.messages.stream(model=model_on(wire), max_tokens=100, messages=[USER], tools=TOOLS) as stream:
        stream.get_final_message()


def test_a_silence_in_a_stream_is_kept_alive(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT, pause_s=0.35))
    settings = {"model": model_on(wire), "max_tokens": 100, "messages": [USER]}
    with sdk.messages.with_streaming_response.create(**settings, stream=True) as raw:
        assert sum(line == "event: ping" for line in raw.iter_lines()) >= 1
    with sdk.messages.stream(**settings) as stream:
        assert stream.get_final_message().content[0].text == cases.TEXT


def test_a_document_arrives(ask, wire, providers):
    providers.answer(wire, say("a page"))
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}
    ask(messages=[{"role": "user", "content": [{"type": "document", "source": source, "title": "page.pdf"}, {"type": "text", "text": "Read this."}]}])
    assert "JVBERi0xLjQK" in str(providers.last.body)


def test_marks_for_caches_arrive_or_their_loss_is_said(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    marked = [{"type": "text", "text": cases.SYSTEM, "cache_control": {"type": "ephemeral"}}]
    raw = sdk.messages.with_raw_response.create(model=model_on(wire), max_tokens=100, messages=[USER], system=marked)
    carried = "cache_control" in str(providers.last.body) or "prompt_cache_breakpoint" in str(providers.last.body)
    assert carried or raw.headers["x-llm-router-fidelity"].startswith("lossy")
    assert ("system", cases.SYSTEM) in providers.last.turns


def test_tokens_are_counted(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    count = sdk.messages.count_tokens(model=model_on(wire), messages=[USER], system=cases.SYSTEM, tools=TOOLS)
    # A provider that cannot count is not asked to generate either.
    asked = {"messages": ["count_tokens"], "gemini": ["countTokens"]}.get(wire, [])
    assert count.input_tokens == 160 if asked else count.input_tokens > 0
    assert [re.split("[/:]", seen.path)[-1] for seen in providers.seen] == asked


def test_models_are_listed(sdk, wire):
    listed = sdk.models.list()
    assert model_on(wire) in {model.id for model in listed} and not listed.has_more
    assert sdk.models.retrieve(model_on(wire)).id == model_on(wire)


def test_the_local_model_answers(house):
    with sdk_for(house) as sdk:
        settings = {"model": MODEL, "max_tokens": 12, "messages": [USER], "extra_body": {"temperature": 0}}
        message = sdk.messages.create(**settings)
        assert message.content[0].text.strip() and message.stop_reason in ("end_turn", "max_tokens")
        assert 0 < message.usage.output_tokens <= 12 and message.usage.input_tokens > 0
        with sdk.messages.stream(**settings) as stream:
            pieces = list(stream.text_stream)
            streamed = stream.get_final_message()
    assert "".join(pieces) == message.content[0].text and len(pieces) > 1
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (message.stop_reason, message.usage.output_tokens)
