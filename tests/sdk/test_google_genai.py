"""Google's official SDK in front of every wire."""

import base64
import json
import re

import pytest
from google import genai
from google.genai import errors, types

import cases
from bed import model_on
from programs import KEY, MODEL
from replies import Call, Refusal, Thought, say

TOOLS = [types.Tool(function_declarations=[
    types.FunctionDeclaration(name=name, description=text, **({"parameters_json_schema": schema} if schema["properties"] else {}))
    for name, text, schema in cases.TOOLS
])]
USER = types.Content(role="user", parts=[types.Part(text=cases.QUESTION)])


def sdk_for(router, key=KEY):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=router.url, timeout=30_000))


@pytest.fixture
def sdk(router):
    made = sdk_for(router)
    yield made
    made.close()


def together(chunks):
    """One answer out of the chunks of a stream: parts joined as a chat keeps them."""
    chunks = list(chunks)
    parts = []
    for part in (part for chunk in chunks for part in _parts(chunk)):
        last = parts[-1] if parts else None
        if last is not None and part.text is not None and last.text is not None and bool(last.thought) == bool(part.thought) and not last.thought_signature:
            parts[-1] = last.model_copy(update={"text": last.text + part.text, "thought_signature": part.thought_signature})
        elif part.text != "" or part.thought_signature:
            parts.append(part)
    ended = [chunk for chunk in chunks if chunk.candidates and chunk.candidates[0].finish_reason]
    assert len(ended) == 1 and ended[0] is [chunk for chunk in chunks if chunk.candidates][-1], "the reason comes once, at the end"
    content = types.Content(role="model", parts=parts)
    candidate = ended[0].candidates[0].model_copy(update={"content": content})
    return chunks[-1].model_copy(update={"candidates": [candidate]})


def _parts(answer):
    content = answer.candidates[0].content if answer.candidates else None
    return (content.parts if content else None) or []


@pytest.fixture(params=["whole", "streamed"])
def ask(request, sdk, wire):
    def settings(more):
        contents = more.pop("contents", cases.QUESTION)
        config = types.GenerateContentConfig(
            system_instruction=cases.SYSTEM, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), **more,
        )
        return {"model": model_on(wire), "contents": contents, "config": config}

    def whole(**more):
        return sdk.models.generate_content(**settings(more))

    def streamed(**more):
        return together(sdk.models.generate_content_stream(**settings(more)))

    return whole if request.param == "whole" else streamed


def results_of(answer, **more):
    """The results of all calls, as the next turn of the user."""
    calls = [part.function_call for part in _parts(answer) if part.function_call]
    return types.Content(role="user", parts=[
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": cases.RESULTS[call.name]}, parts=more.get(call.name)))
        for call in calls
    ])


def test_a_text_is_answered(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    answer = ask(max_output_tokens=50, temperature=0.5)
    assert (answer.text, answer.candidates[0].finish_reason) == (cases.TEXT, types.FinishReason.STOP)
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (11, 7, 18)
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", cases.QUESTION)]
    assert (providers.last.settings["max"], providers.last.settings["temperature"]) == (50, 0.5)


def test_a_stream_comes_in_pieces(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    chunks = list(sdk.models.generate_content_stream(model=model_on(wire), contents=cases.QUESTION))
    texts = [chunk.text for chunk in chunks if chunk.text]
    assert len(texts) > 2 and "".join(texts) == cases.TEXT
    assert len({chunk.response_id for chunk in chunks}) == 1


def test_tools_are_called_and_their_results_go_back(ask, wire, providers):
    providers.answer(wire, cases.calls(wire, "I look it up."), say(cases.TEXT))
    answer = ask(tools=TOOLS)
    assert [part.text for part in _parts(answer) if part.text] == ["I look it up."]
    assert [(call.name, call.args or {}) for call in answer.function_calls] == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert providers.last.settings["tools"] == ["get_weather", "get_time"]
    answer = ask(tools=TOOLS, contents=[USER, answer.candidates[0].content, results_of(answer)])
    assert answer.text == cases.TEXT
    cases.assert_results_came(providers.last)


def test_calls_without_ids_find_their_results(ask, wire, providers):
    """Two calls of one tool, and nothing but their order to tell them apart."""
    seal = cases.SEAL if wire == "gemini" else None
    providers.answer(wire, say(Call("c1", "get_weather", {"city": "Paris"}, seal), Call("c2", "get_weather", {"city": "Rome"})), say(cases.TEXT))
    answer = ask(tools=TOOLS)
    for part in _parts(answer):
        part.function_call.id = None
    results = [types.Part.from_function_response(name="get_weather", response={"result": text}) for text in ("rain", "sun")]
    ask(tools=TOOLS, contents=[USER, answer.candidates[0].content, types.Content(role="user", parts=results)])
    assert [turn[2] for turn in providers.last.of("call")] == [{"city": "Paris"}, {"city": "Rome"}]
    assert [("rain" in turn[2], "sun" in turn[2]) for turn in providers.last.of("result")] == [(True, False), (False, True)]


@pytest.mark.parametrize("mode, allowed, wanted", [
    ("AUTO", None, "auto"), ("ANY", None, "required"), ("NONE", None, "none"), ("ANY", ["get_time"], ("function", "get_time")),
])
def test_a_choice_of_tools_arrives(ask, wire, providers, mode, allowed, wanted):
    providers.answer(wire, say("no", Call("call_1", "get_time", {}, cases.SEAL)))
    calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=allowed)
    ask(tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))
    assert providers.last.settings["choice"] == wanted


def test_a_function_is_called_by_the_sdk_itself(sdk, wire, providers):
    asked = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    seal = cases.SEAL if wire == "gemini" else None
    providers.answer(wire, say(Call("c1", "get_weather", {"city": "Paris"}, seal)), say(cases.TEXT))
    answer = sdk.models.generate_content(model=model_on(wire), contents=cases.QUESTION, config=types.GenerateContentConfig(tools=[get_weather]))
    assert (answer.text, asked) == (cases.TEXT, ["Paris"])
    assert "sunny" in providers.last.of("result")[0][2]


def test_an_image_arrives(ask, wire, providers):
    providers.answer(wire, say("a pixel"))
    ask(contents=["What is this?", types.Part.from_bytes(data=base64.b64decode(cases.PIXEL), mime_type="image/png")])
    assert providers.last.turns[1:] == [("user", "What is this?"), ("image", cases.PIXEL_URL)]


def test_a_result_with_an_image_arrives(sdk, wire, providers):
    providers.answer(wire, cases.calls(wire), say(cases.TEXT))
    config = types.GenerateContentConfig(tools=TOOLS)
    answer = sdk.models.generate_content(model=model_on(wire), contents=cases.QUESTION, config=config)
    image = types.FunctionResponsePart(inline_data=types.FunctionResponseBlob(mime_type="image/png", data=base64.b64decode(cases.PIXEL)))
    again = sdk.models.generate_content(
        model=model_on(wire), contents=[USER, answer.candidates[0].content, results_of(answer, get_weather=[image])], config=config,
    )
    cases.assert_results_came(providers.last)
    in_result = providers.last.of("result")[0][3]
    said = again.sdk_http_response.headers["x-llm-router-fidelity"]
    assert in_result == [cases.PIXEL_URL] or ("lossy" in said and providers.last.of("image") == [("image", cases.PIXEL_URL)])


def test_reasoning_is_shown(ask, wire, providers):
    providers.answer(wire, say(Thought(cases.THOUGHT, cases.SEAL), cases.TEXT))
    answer = ask(thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH"))
    thoughts = [part.text for part in _parts(answer) if part.thought]
    assert (thoughts, answer.text) == ([cases.THOUGHT], cases.TEXT)
    assert providers.last.settings["effort"] == "high"


@pytest.mark.parametrize("keeps_all", [True, False], ids=["client_keeps_all", "client_keeps_calls_only"])
def test_reasoning_comes_back_to_its_provider(ask, wire, providers, keeps_all):
    providers.answer(wire, cases.thinking_calls(wire), say(cases.TEXT))
    settings = {"tools": TOOLS, "thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH")}
    answer = ask(**settings)
    content = answer.candidates[0].content
    if not keeps_all:
        content = types.Content(role="model", parts=[types.Part(function_call=call) for call in answer.function_calls])
    contents = [USER, content, results_of(answer)]
    if wire == "gemini" and not keeps_all:
        # Nothing is translated, so nothing is mended: Google's own word comes back.
        with pytest.raises(errors.ClientError, match="thought_signature"):
            ask(**settings, contents=contents)
        providers.refused.clear()
        return
    answer = ask(**settings, contents=contents)
    assert answer.text == cases.TEXT
    cases.assert_results_came(providers.last)
    cases.assert_thought_came_back(providers.last)


@pytest.mark.parametrize("how", ["response_json_schema", "response_schema"])
def test_a_schema_is_followed(ask, wire, providers, how):
    providers.answer(wire, say(cases.PERSON_TEXT))
    schema = cases.PERSON if how == "response_json_schema" else {name: value for name, value in cases.PERSON.items() if name != "additionalProperties"}
    answer = ask(response_mime_type="application/json", **{how: schema})
    assert json.loads(answer.text) == {"name": "Ada", "age": 36}
    cases.assert_schema_came(providers.last)


def test_an_answer_that_is_too_long_says_so(ask, wire, providers):
    providers.answer(wire, say("It is", stop="length"))
    answer = ask(max_output_tokens=16)
    assert (answer.text, answer.candidates[0].finish_reason) == ("It is", types.FinishReason.MAX_TOKENS)


def test_stop_strings_arrive_or_their_loss_is_said(sdk, wire, providers):
    providers.answer(wire, say("It is", stop="stop_sequence", stop_sequence="END"))
    answer = sdk.models.generate_content(model=model_on(wire), contents="hi", config=types.GenerateContentConfig(stop_sequences=["END", "STOP"]))
    assert (answer.text, answer.candidates[0].finish_reason) == ("It is", types.FinishReason.STOP)
    if wire == "responses":
        assert "stop" in answer.sdk_http_response.headers["x-llm-router-fidelity"]
    else:
        assert providers.last.settings["stop"] == ["END", "STOP"]


def test_a_refusal_is_one(ask, wire, providers):
    providers.answer(wire, say("I will not.", stop="refusal"))
    answer = ask()
    assert answer.candidates[0].finish_reason == types.FinishReason.SAFETY
    assert "".join(part.text for part in _parts(answer)) == "I will not."


def test_tokens_of_caches_and_reasoning_are_told_apart(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    usage = ask().usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (160, 40)
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (9, 5, 174)


def test_a_wrong_key_and_an_unknown_model_are_typed(router, sdk, wire, providers):
    wrong = sdk_for(router, "sk-wrong")
    with pytest.raises(errors.ClientError) as caught:
        wrong.models.generate_content(model=model_on(wire), contents="hi")
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
    with pytest.raises(errors.ClientError) as caught:
        sdk.models.generate_content(model="no-such-model", contents="hi")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert not providers.seen


@pytest.mark.parametrize("status, kind, wanted", [
    (400, errors.ClientError, (400, "INVALID_ARGUMENT")), (429, errors.ClientError, (429, "RESOURCE_EXHAUSTED")),
    (401, errors.ServerError, (502, None)), (500, errors.ServerError, (502, None)),
])
def test_an_error_of_the_provider_is_typed(ask, wire, providers, status, kind, wanted):
    providers.answer(wire, Refusal(status, "the provider says no"))
    with pytest.raises(kind) as caught:
        ask()
    assert caught.value.code == wanted[0]
    assert wanted[1] is None or caught.value.status == wanted[1]
    assert status != 400 or "the provider says no" in caught.value.message


@pytest.mark.parametrize("how", ["error", "ended", "closed"])
@pytest.mark.parametrize("what", ["text", "calls"])
def test_a_stream_that_breaks_raises(sdk, wire, providers, how, what):
    parts = (cases.TEXT,) if what == "text" else cases.calls(wire).parts
    providers.answer(wire, say(*parts, broken=how))
    reasons = []
    with pytest.raises(Exception) as caught:
        for chunk in sdk.models.generate_content_stream(model=model_on(wire), contents="hi", config=types.GenerateContentConfig(tools=TOOLS)):
            reasons += [candidate.finish_reason for candidate in chunk.candidates or [] if candidate.finish_reason]
    assert isinstance(caught.value, errors.APIError), repr(caught.value)
    assert not reasons


def test_a_silence_in_a_stream_is_left_silent(sdk, wire, providers):
    """Google's SDK takes every line for data, so nothing may be put between."""
    providers.answer(wire, say(cases.TEXT, pause_s=0.35))
    chunks = list(sdk.models.generate_content_stream(model=model_on(wire), contents="hi"))
    assert "".join(chunk.text or "" for chunk in chunks) == cases.TEXT


def test_a_file_arrives(ask, wire, providers):
    providers.answer(wire, say("a page"))
    ask(contents=["Read this.", types.Part.from_bytes(data=b"%PDF-1.4\n", mime_type="application/pdf")])
    assert "JVBERi0xLjQK" in json.dumps(providers.last.body)


def test_tokens_are_counted(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    count = sdk.models.count_tokens(model=model_on(wire), contents=cases.QUESTION)
    asked = {"messages": ["count_tokens"], "gemini": ["countTokens"]}.get(wire, [])
    assert count.total_tokens == 160 if asked else count.total_tokens > 0
    assert [re.split("[/:]", seen.path)[-1] for seen in providers.seen] == asked, "counting asks nobody to generate"


def test_models_are_listed(sdk, wire):
    listed = {model.name for model in sdk.models.list()}
    assert f"models/{model_on(wire)}" in listed
    assert sdk.models.get(model=model_on(wire)).name == f"models/{model_on(wire)}"


def test_a_chat_keeps_its_history(sdk, wire, providers):
    providers.answer(wire, say("Hello."), say(cases.TEXT), *([say("Bye.")] if wire != "gemini" else []))
    chat = sdk.chats.create(model=model_on(wire))
    assert chat.send_message("Hi").text == "Hello."
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream(cases.QUESTION)) == cases.TEXT
    assert providers.last.turns == [("user", "Hi"), ("assistant", "Hello."), ("user", cases.QUESTION)]
    if wire != "gemini":
        # The SDK keeps each chunk for itself; where it is translated it arrives as one turn.
        chat.send_message("Bye")
        assert providers.last.turns[-2:] == [("assistant", cases.TEXT), ("user", "Bye")]


def test_the_local_model_answers(house):
    sdk = sdk_for(house)
    config = types.GenerateContentConfig(max_output_tokens=12, temperature=0)
    answer = sdk.models.generate_content(model=MODEL, contents=cases.QUESTION, config=config)
    assert answer.text.strip() and answer.candidates[0].finish_reason in (types.FinishReason.STOP, types.FinishReason.MAX_TOKENS)
    assert 0 < answer.usage_metadata.candidates_token_count <= 12
    chunks = list(sdk.models.generate_content_stream(model=MODEL, contents=cases.QUESTION, config=config))
    assert "".join(chunk.text or "" for chunk in chunks) == answer.text and len(chunks) > 2
    assert chunks[-1].usage_metadata.candidates_token_count == answer.usage_metadata.candidates_token_count
