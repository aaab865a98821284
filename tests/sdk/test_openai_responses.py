"""The official OpenAI SDK's Responses in front of every wire."""

import json

import openai
import pydantic
import pytest

import cases
from bed import model_on
from programs import KEY, MODEL
from replies import Call, Refusal, Thought, say

TOOLS = [{"type": "function", "name": name, "description": text, "parameters": schema, "strict": False} for name, text, schema in cases.TOOLS]
USER = {"role": "user", "content": cases.QUESTION}


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def sdk(router):
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=30, _strict_response_validation=True) as made:
        yield made


@pytest.fixture(params=["whole", "streamed"])
def ask(request, sdk, wire):
    """Asks for an answer as a whole, or for a stream whose last event has it; what came in pieces must be the same."""

    def settings(more):
        return {"model": model_on(wire), "instructions": cases.SYSTEM, "input": cases.QUESTION, "store": False, **more}

    def whole(**more):
        return sdk.responses.create(**settings(more))

    def streamed(**more):
        with sdk.responses.stream(**settings(more)) as stream:
            events = list(stream)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert [events[0].type, events[1].type] == ["response.created", "response.in_progress"]
        assert events[-1].type in ("response.completed", "response.incomplete")
        answer = events[-1].response
        _assert_pieces_are_the_whole(events, answer)
        return answer

    return whole if request.param == "whole" else streamed


def _assert_pieces_are_the_whole(events, answer):
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    done = [event.item.id for event in events if event.type == "response.output_item.done"]
    assert added == done == [item.id for item in answer.output], "every item begins and ends, one after the other"
    for item in answer.output:
        mine = [event for event in events if getattr(event, "item_id", None) == item.id]

        def joined(kind):
            return "".join(event.delta for event in mine if event.type == kind)

        if item.type == "function_call":
            assert joined("response.function_call_arguments.delta") == item.arguments
            assert [e.arguments for e in mine if e.type == "response.function_call_arguments.done"] == [item.arguments]
        elif item.type == "message":
            whole = "".join(part.text if part.type == "output_text" else part.refusal for part in item.content)
            assert joined("response.output_text.delta") + joined("response.refusal.delta") == whole
            assert [e.type for e in mine].count("response.content_part.added") == [e.type for e in mine].count("response.content_part.done") == len(item.content)
        elif item.type == "reasoning":
            assert joined("response.reasoning_summary_text.delta") == "".join(part.text for part in item.summary)


def plain(item):
    """An item of an answer without what only the SDK's own objects have."""
    known = item.model_dump(exclude_none=True, exclude={"parsed_arguments"})
    for part in known.get("content", []):
        part.pop("parsed", None)
    return known


def results_of(answer):
    calls = [item for item in answer.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": cases.RESULTS[call.name]} for call in calls]


def test_a_text_is_answered(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    answer = ask(max_output_tokens=50)
    assert (answer.object, answer.status, answer.output_text) == ("response", "completed", cases.TEXT)
    assert [item.type for item in answer.output] == ["message"] and answer.output[0].role == "assistant"
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (11, 7, 18)
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", cases.QUESTION)]
    assert providers.last.settings["max"] == 50


def test_a_history_arrives_in_order(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    assistant = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{"type": "output_text", "text": "Hi.", "annotations": []}]}
    ask(input=[{"role": "user", "content": "Hello"}, assistant, USER])
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", "Hello"), ("assistant", "Hi."), ("user", cases.QUESTION)]


def test_a_stream_comes_in_pieces(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    events = list(sdk.responses.create(model=model_on(wire), input=cases.QUESTION, store=False, stream=True))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 2 and "".join(pieces) == cases.TEXT
    kinds = [event.type for event in events if not event.type.endswith(".delta")]
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed",
    ]


def test_tools_are_called_and_their_results_go_back(ask, wire, providers):
    providers.answer(wire, cases.calls(wire, "I look it up."), say(cases.TEXT))
    answer = ask(tools=TOOLS)
    assert (answer.output_text, answer.status) == ("I look it up.", "completed")
    made = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
    assert made == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    assert providers.last.settings["tools"] == ["get_weather", "get_time"]
    answer = ask(tools=TOOLS, input=[USER, *map(plain, answer.output), *results_of(answer)])
    assert answer.output_text == cases.TEXT
    cases.assert_results_came(providers.last)


@pytest.mark.parametrize("choice, wanted", [
    ("auto", "auto"), ("required", "required"), ("none", "none"), ({"type": "function", "name": "get_time"}, ("function", "get_time")),
])
def test_a_choice_of_tools_arrives(ask, wire, providers, choice, wanted):
    providers.answer(wire, say("no", Call("call_1", "get_time", {}, cases.SEAL)))
    ask(tools=TOOLS, tool_choice=choice)
    assert providers.last.settings["choice"] == wanted


def test_a_result_with_an_image_arrives(sdk, wire, providers):
    providers.answer(wire, cases.calls(wire), say(cases.TEXT))
    answer = sdk.responses.create(model=model_on(wire), input=cases.QUESTION, store=False, tools=TOOLS)
    results = results_of(answer)
    results[0]["output"] = [{"type": "input_text", "text": cases.RESULTS["get_weather"]}, {"type": "input_image", "detail": "auto", "image_url": cases.PIXEL_URL}]
    raw = sdk.responses.with_raw_response.create(
        model=model_on(wire), input=[USER, *map(plain, answer.output), *results], store=False, tools=TOOLS,
    )
    assert raw.parse().output_text == cases.TEXT
    cases.assert_results_came(providers.last)
    in_result = providers.last.of("result")[0][3]
    # Where a result cannot hold an image it stands beside it, and that is said.
    assert in_result == [cases.PIXEL_URL] or ("lossy" in raw.headers["x-llm-router-fidelity"] and providers.last.of("image") == [("image", cases.PIXEL_URL)])


def test_an_image_arrives(ask, wire, providers):
    providers.answer(wire, say("a pixel"))
    parts = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "detail": "auto", "image_url": cases.PIXEL_URL}]
    ask(input=[{"role": "user", "content": parts}])
    assert providers.last.turns[1:] == [("user", "What is this?"), ("image", cases.PIXEL_URL)]


def test_reasoning_comes_back_to_its_provider(ask, wire, providers):
    providers.answer(wire, cases.thinking_calls(wire), say(cases.TEXT))
    settings = {"tools": TOOLS, "reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    answer = ask(**settings)
    assert [item.type for item in answer.output] == ["reasoning", "function_call", "function_call"]
    assert "".join(part.text for part in answer.output[0].summary) == cases.THOUGHT
    assert providers.last.settings["effort"] == "high"
    answer = ask(**settings, input=[USER, *map(plain, answer.output), *results_of(answer)])
    assert answer.output_text == cases.TEXT
    cases.assert_results_came(providers.last)
    cases.assert_thought_came_back(providers.last)


def test_a_schema_is_followed(sdk, wire, providers):
    providers.answer(wire, say(cases.PERSON_TEXT))
    settings = {"model": model_on(wire), "input": cases.QUESTION, "store": False, "text_format": Person}
    assert sdk.responses.parse(**settings).output_parsed == Person(name="Ada", age=36)
    cases.assert_schema_came(providers.last)
    with sdk.responses.stream(**settings) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ada", age=36)
    cases.assert_schema_came(providers.last)


def test_an_answer_that_is_too_long_says_so(ask, wire, providers):
    providers.answer(wire, say("It is", stop="length"))
    answer = ask(max_output_tokens=16)
    assert (answer.status, answer.incomplete_details.reason, answer.output_text) == ("incomplete", "max_output_tokens", "It is")


def test_a_refusal_is_one(ask, wire, providers):
    providers.answer(wire, say("I will not.", stop="refusal"))
    answer = ask()
    parts = [part for item in answer.output for part in item.content]
    assert any(part.type == "refusal" for part in parts) or (answer.status, answer.incomplete_details.reason) == ("incomplete", "content_filter")
    assert [part.refusal if part.type == "refusal" else part.text for part in parts] == ["I will not."]


def test_tokens_of_caches_and_reasoning_are_told_apart(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    usage = ask().usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (160, 14, 174)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (40, 5)
    if wire != "gemini":
        assert usage.input_tokens_details.cache_write_tokens == 20


def test_a_wrong_key_and_an_unknown_model_are_typed(sdk, wire, providers):
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="sk-wrong").responses.create(model=model_on(wire), input="hi")
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.responses.create(model="no-such-model", input="hi")
    assert caught.value.code == "model_not_found"
    assert not providers.seen


@pytest.mark.parametrize("status, kind", [
    (400, openai.BadRequestError), (429, openai.RateLimitError), (401, openai.InternalServerError), (500, openai.InternalServerError),
])
def test_an_error_of_the_provider_is_typed(sdk, wire, providers, status, kind):
    providers.answer(wire, Refusal(status, "the provider says no"))
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            sdk.responses.create(model=model_on(wire), input="hi", store=False, stream=stream)
        assert caught.value.status_code == {401: 502, 500: 502}.get(status, status)
        assert status != 400 or "the provider says no" in str(caught.value)


@pytest.mark.parametrize("how", ["error", "ended", "closed"])
@pytest.mark.parametrize("what", ["text", "calls"])
def test_a_stream_that_breaks_does_not_end_well(sdk, wire, providers, how, what):
    parts = (cases.TEXT,) if what == "text" else cases.calls(wire).parts
    providers.answer(wire, say(*parts, broken=how))
    kinds = []
    try:
        for event in sdk.responses.create(model=model_on(wire), input="hi", store=False, stream=True, tools=TOOLS):
            kinds.append(event.type)
    except openai.APIError:
        kinds.append("raised")
    assert kinds[-1] in ("error", "response.failed", "raised"), kinds
    assert "response.completed" not in kinds and "response.incomplete" not in kinds
    with pytest.raises((RuntimeError, openai.APIError)), sdk.responses.stream(model=model_on(wire), input="hi", store=False) as stream:
        stream.get_final_response()


def test_who_says_nothing_about_storing_is_answered(ask, wire, providers):
    providers.answer(wire, say(cases.TEXT))
    assert ask(store=openai.omit).output_text == cases.TEXT
    assert "store" not in providers.last.body, "where it is the wire the body is the caller's own; elsewhere nothing is stored by default"


def test_reasoning_is_shown(ask, wire, providers):
    providers.answer(wire, say(Thought(cases.THOUGHT, cases.SEAL), cases.TEXT))
    answer = ask(reasoning={"effort": "low", "summary": "auto"})
    # A seal of the text itself may stand before it as reasoning without a summary.
    assert [item.type for item in answer.output if item.type != "reasoning" or item.summary] == ["reasoning", "message"]
    assert (answer.output[0].summary[0].text, answer.output_text) == (cases.THOUGHT, cases.TEXT)
    assert providers.last.settings["effort"] == "low"


def test_a_silence_in_a_stream_is_kept_alive(sdk, wire, providers):
    providers.answer(wire, say(cases.TEXT, pause_s=0.35))
    settings = {"model": model_on(wire), "input": cases.QUESTION, "store": False}
    with sdk.responses.with_streaming_response.create(**settings, stream=True) as raw:
        assert sum(line.startswith(":") for line in raw.iter_lines()) >= 1
    with sdk.responses.stream(**settings) as stream:
        assert stream.get_final_response().output_text == cases.TEXT


def test_the_local_model_answers(house):
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=KEY, max_retries=0, timeout=120, _strict_response_validation=True) as sdk:
        settings = {"model": MODEL, "input": cases.QUESTION, "max_output_tokens": 16, "temperature": 0, "store": False}
        answer = sdk.responses.create(**settings)
        assert answer.output_text.strip() and answer.status in ("completed", "incomplete")
        assert 0 < answer.usage.output_tokens <= 16
        events = list(sdk.responses.create(**settings, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == answer.output_text
    assert (events[-1].response.status, events[-1].response.usage.output_tokens) == (answer.status, answer.usage.output_tokens)
