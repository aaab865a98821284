"""LangChain's ChatOpenAI in front of every wire, in both of the dialects that it speaks."""

import openai
import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import cases
from bed import model_on
from programs import KEY, MODEL
from replies import Refusal, Thought, say

ASK = [SystemMessage(cases.SYSTEM), HumanMessage(cases.QUESTION)]


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city"""
    return cases.RESULTS["get_weather"]


@tool
def get_time() -> str:
    """What time it is"""
    return cases.RESULTS["get_time"]


TOOLS = [get_weather, get_time]


@pytest.fixture(params=["chat", "responses"])
def model(request, router, wire):
    """model(settings) makes the model of a wire."""

    def make(**settings):
        in_responses = {"use_responses_api": True, "store": False, "include": ["reasoning.encrypted_content"]} if request.param == "responses" else {}
        return ChatOpenAI(model=model_on(wire), base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=30, **in_responses, **settings)

    make.dialect = request.param
    return make


@pytest.fixture(params=["whole", "streamed"])
def ask(request):
    """ask(model, messages) is one message, put together from a stream or not."""

    def streamed(model, messages):
        pieces = list(model.stream(messages))
        assert len(pieces) > 1
        whole = pieces[0]
        for piece in pieces[1:]:
            whole = whole + piece
        return whole

    return (lambda model, messages: model.invoke(messages)) if request.param == "whole" else streamed


def test_a_text_is_answered(model, ask, wire, providers):
    providers.answer(wire, say(cases.TEXT, usage=cases.USAGE))
    message = ask(model(max_tokens=50, temperature=0.5, stream_usage=True), ASK)
    assert message.text == cases.TEXT
    usage = message.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (160, 14, 174)
    assert (usage["input_token_details"]["cache_read"], usage["output_token_details"]["reasoning"]) == (40, 5)
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", cases.QUESTION)]
    assert (providers.last.settings["max"], providers.last.settings["temperature"]) == (50, 0.5)


def test_tools_are_called_and_their_results_go_back(model, ask, wire, providers):
    providers.answer(wire, cases.calls(wire, "I look it up."), say(cases.TEXT))
    bound = model().bind_tools(TOOLS)
    message = ask(bound, ASK)
    assert message.text == "I look it up."
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    assert not message.invalid_tool_calls
    results = [{tool.name: tool for tool in TOOLS}[call["name"]].invoke(call) for call in message.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    assert ask(bound, [*ASK, _kept(message), *results]).text == cases.TEXT
    cases.assert_results_came(providers.last)


def _kept(message):
    """What a program that keeps messages keeps of a streamed one."""
    return AIMessage(content=message.content, tool_calls=message.tool_calls, additional_kwargs=message.additional_kwargs)


@pytest.mark.parametrize("choice, wanted", [("any", "required"), ("get_time", ("function", "get_time")), ("none", "none")])
def test_a_choice_of_tools_arrives(model, wire, providers, choice, wanted):
    providers.answer(wire, say("no"))
    model().bind_tools(TOOLS, tool_choice=choice).invoke(ASK)
    assert providers.last.settings["choice"] == wanted


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_schema_is_followed(model, wire, providers, method):
    from replies import Call

    call = Call("call_1", "Person", {"name": "Ada", "age": 36}, cases.SEAL if wire == "gemini" else None)
    providers.answer(wire, say(cases.PERSON_TEXT if method == "json_schema" else call))
    assert model().with_structured_output(Person, method=method).invoke(ASK) == Person(name="Ada", age=36)
    if method == "json_schema":
        cases.assert_schema_came(providers.last)
    else:
        assert providers.last.settings["choice"] in ("required", ("function", "Person"))


def test_an_image_arrives(model, wire, providers):
    providers.answer(wire, say("a pixel"))
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image", "base64": cases.PIXEL, "mime_type": "image/png"}]
    model().invoke([HumanMessage(content=parts)])
    assert providers.last.turns == [("user", "What is this?"), ("image", cases.PIXEL_URL)]


def test_reasoning_comes_back_to_its_provider(model, ask, wire, providers):
    providers.answer(wire, cases.thinking_calls(wire), say(cases.TEXT))
    wish = {"reasoning": {"effort": "high", "summary": "auto"}} if model.dialect == "responses" else {"reasoning_effort": "high"}
    bound = model(**wish).bind_tools(TOOLS)
    message = ask(bound, ASK)
    assert providers.last.settings["effort"] == "high"
    results = [{tool.name: tool for tool in TOOLS}[call["name"]].invoke(call) for call in message.tool_calls]
    assert bound.invoke([*ASK, _kept(message), *results]).text == cases.TEXT
    cases.assert_results_came(providers.last)
    cases.assert_thought_came_back(providers.last)


def test_an_answer_that_is_too_long_says_so(model, ask, wire, providers):
    providers.answer(wire, say("It is", stop="length"))
    message = ask(model(max_tokens=16), ASK)
    said = message.response_metadata
    assert message.text == "It is"
    assert said.get("finish_reason") == "length" or said["incomplete_details"]["reason"] == "max_output_tokens"


def test_errors_are_typed(model, router, wire, providers):
    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(model="no-such-model", base_url=f"{router.url}/v1", api_key=KEY, max_retries=0).invoke("hi")
    with pytest.raises(openai.AuthenticationError):
        ChatOpenAI(model=model_on(wire), base_url=f"{router.url}/v1", api_key="sk-wrong", max_retries=0).invoke("hi")
    for status, kind in ((400, openai.BadRequestError), (429, openai.RateLimitError)):
        providers.answer(wire, Refusal(status, "the provider says no"))
        with pytest.raises(kind):
            model().invoke(ASK)
        with pytest.raises(kind):
            list(model().stream(ASK))


@pytest.mark.parametrize("how", ["error", "ended", "closed"])
def test_a_stream_that_breaks_raises(model, wire, providers, how):
    providers.answer(wire, say(cases.TEXT, broken=how))
    with pytest.raises((openai.APIError, ValueError, RuntimeError)):
        list(model().stream(ASK))


def test_the_local_model_answers(house):
    model = ChatOpenAI(model=MODEL, base_url=f"{house.url}/v1", api_key=KEY, max_retries=0, max_tokens=12, temperature=0)
    message = model.invoke(cases.QUESTION)
    assert message.text.strip()
    assert "".join(piece.text for piece in model.stream(cases.QUESTION)) == message.text


@pytest.mark.parametrize("model", ["responses"], indirect=True)
def test_reasoning_is_shown(model, ask, wire, providers):
    """LangChain's client of chat knows no reasoning."""
    providers.answer(wire, say(Thought(cases.THOUGHT, cases.SEAL), cases.TEXT))
    message = ask(model(reasoning={"effort": "low", "summary": "auto"}), ASK)
    thoughts = [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning" and block.get("reasoning")]
    assert ("".join(thoughts), message.text) == (cases.THOUGHT, cases.TEXT)
