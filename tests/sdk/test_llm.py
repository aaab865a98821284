"""The command `llm` with models of an OpenAI-compatible server, in front of every wire."""

import base64
import json
import os
import subprocess
import sys

import pytest

import cases
from bed import model_on
from programs import KEY, MODEL
from replies import Refusal, say

FUNCTIONS = '''
def get_weather(city: str) -> str:
    "The weather of a city"
    return "sunny, 21 °C"

def get_time() -> str:
    "What time it is"
    return "12:00"
'''


@pytest.fixture(scope="module")
def home(_gateway, house, tmp_path_factory):
    """A folder with the settings of `llm`: each wire's model in both dialects, and the local one."""
    folder = tmp_path_factory.mktemp("llm")
    rows = [_row(model_on(wire), router.url, dialect) for router in (_gateway[0],) for wire in ("chat", "responses", "messages", "gemini") for dialect in ("chat", "responses")]
    rows += [_row(MODEL, house.url, "chat"), _row("no-such-model", _gateway[0].url, "chat")]
    # JSON is YAML too.
    (folder / "extra-openai-models.yaml").write_text(json.dumps(rows))
    (folder / "keys.json").write_text(json.dumps({"router": KEY, "wrong": "sk-wrong"}))
    return folder


def _row(model, url, dialect):
    responses = {"responses": True} if dialect == "responses" else {}
    return {
        "model_id": f"{model}/{dialect}", "model_name": model, "api_base": f"{url}/v1", "api_key_name": "router", "supports_schema": True, "supports_tools": True,
        "vision": True, **responses,
    }


@pytest.fixture
def llm(home):
    def run(*arguments, key=None):
        command = [sys.executable, "-m", "llm", *arguments, "--no-log", *(["--key", key] if key else [])]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")} | {"LLM_USER_PATH": str(home)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    return run


@pytest.mark.parametrize("how", [(), ("--no-stream",)], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_a_text_is_answered(llm, wire, providers, dialect, how):
    providers.answer(wire, say(cases.TEXT))
    said = llm("-m", f"{model_on(wire)}/{dialect}", "-s", cases.SYSTEM, cases.QUESTION, *how)
    assert said.stdout == cases.TEXT + "\n", said.stderr
    assert providers.last.turns == [("system", cases.SYSTEM), ("user", cases.QUESTION)]


@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_functions_are_called(llm, wire, providers, dialect):
    providers.answer(wire, cases.calls(wire), say(cases.TEXT))
    said = llm("-m", f"{model_on(wire)}/{dialect}", "--functions", FUNCTIONS, cases.QUESTION)
    assert said.stdout.strip() == cases.TEXT, said.stderr
    cases.assert_results_came(providers.last)


def test_a_schema_is_followed(llm, wire, providers):
    providers.answer(wire, say(cases.PERSON_TEXT))
    said = llm("-m", f"{model_on(wire)}/chat", "--schema", "name, age int", cases.QUESTION)
    assert json.loads(said.stdout) == {"name": "Ada", "age": 36}, said.stderr
    cases.assert_schema_came(providers.last)


@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_an_image_arrives(llm, wire, providers, tmp_path, dialect):
    picture = tmp_path / "pixel.png"
    picture.write_bytes(base64.b64decode(cases.PIXEL))
    providers.answer(wire, say("a pixel"))
    said = llm("-m", f"{model_on(wire)}/{dialect}", "What is this?", "-a", str(picture))
    assert said.stdout.strip() == "a pixel", said.stderr
    assert providers.last.turns == [("user", "What is this?"), ("image", cases.PIXEL_URL)]


def test_an_error_ends_the_command_with_its_words(llm, wire, providers):
    providers.answer(wire, Refusal(400, "the provider says no"))
    said = llm("-m", f"{model_on(wire)}/chat", cases.QUESTION)
    assert said.returncode != 0 and "the provider says no" in said.stderr


@pytest.mark.parametrize("how", ["error", "ended"])
def test_a_stream_that_breaks_ends_the_command_with_an_error(llm, wire, providers, how):
    providers.answer(wire, say(cases.TEXT, broken=how))
    assert llm("-m", f"{model_on(wire)}/chat", cases.QUESTION).returncode != 0


def test_a_wrong_key_and_an_unknown_model_end_the_command(llm, providers):
    assert "401" in llm("-m", f"{model_on('chat')}/chat", "hi", key="wrong").stderr
    assert "404" in llm("-m", "no-such-model/chat", "hi").stderr


def test_the_local_model_answers(llm):
    settings = ("-m", f"{MODEL}/chat", "-o", "max_tokens", "12", "-o", "temperature", "0", cases.QUESTION)
    streamed, whole = llm(*settings), llm(*settings, "--no-stream")
    assert streamed.returncode == whole.returncode == 0, streamed.stderr + whole.stderr
    assert streamed.stdout == whole.stdout and whole.stdout.strip()
