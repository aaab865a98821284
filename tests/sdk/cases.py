"""What all SDKs are asked to do, in the words of none of them."""

import json

from replies import Call, Thought, Usage, say

SYSTEM = "Answer briefly."
QUESTION = "What is the weather in Paris, and what time is it?"
TEXT = "It is sunny in Paris – 21 °C 🌞.\nTake \"glasses\" and a \\ hat."
USAGE = Usage(fresh=100, read=40, written=20, text=9, reasoning=5)

CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"], "additionalProperties": False}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
# (name, description, parameters)
TOOLS = [("get_weather", "The weather of a city", CITY), ("get_time", "What time it is", NOTHING)]

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PERSON_TEXT = '{"name": "Ada", "age": 36}'

# One transparent pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PIXEL_URL = f"data:image/png;base64,{PIXEL}"

RESULTS = {"get_weather": "sunny, 21 °C", "get_time": "12:00"}
THOUGHT = "Both must be looked up."
SEAL = "sealed-by-the-provider+/=="


def calls(wire, *before):
    """A reply that calls both tools at once, the second without arguments. Gemini's newest models always seal the first call."""
    seal = SEAL if wire == "gemini" and not any(isinstance(part, Thought) for part in before) else None
    return say(*before, Call("call_weather_1", "get_weather", {"city": "Paris"}, seal), Call("call_time_2", "get_time", {}))


def thinking_calls(wire):
    """The same after some reasoning that the provider sealed."""
    return calls(wire, Thought(THOUGHT, SEAL))


def assert_results_came(seen):
    """The provider was shown both calls and both results, each under its tool's name, in order."""
    assert [turn[1:] for turn in seen.of("call")] == [("get_weather", {"city": "Paris"}), ("get_time", {})]
    results = seen.of("result")
    assert [result[1] for result in results] == ["get_weather", "get_time"]
    assert [_plain(result[2]) for result in results] == list(RESULTS.values())


def _plain(text):
    """A result's text, taken out of the object that Gemini wants around it."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else text


def assert_thought_came_back(seen):
    """What the provider reasoned before its calls is before them again, sealed as it was. Chat has no seals."""
    if seen.wire == "chat":
        return
    turns = seen.turns
    at = [index for index, turn in enumerate(turns) if turn[0] == "thought" and turn[2] == SEAL]
    assert at, f"the sealed thought is gone: {turns}"
    assert at[0] < min(index for index, turn in enumerate(turns) if turn[0] == "call")
    # Gemini's seal stands on the call, and Responses may have been asked for no summary.
    assert seen.wire == "gemini" or turns[at[0]][1] in (THOUGHT, *([""] if seen.wire == "responses" else []))


def assert_schema_came(seen):
    """The provider was given the schema, however it writes it."""
    schema = seen.settings["schema"]
    assert set(schema["properties"]) == {"name", "age"} and set(schema["required"]) == {"name", "age"}
