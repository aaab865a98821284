"""The official MCP client with `llm-router mcp`, in both eras of the protocol, in front of the running router."""

import asyncio
import json
import os
import subprocess

import pytest
from mcp import Client, StdioServerParameters

from bed import model_on
from programs import KEY
from replies import say

SECONDS = 60
MODES = ["auto", "legacy"]


def talk(router, body, mode="auto", **environment):
    """What body(client) gives, with a server of its own; the client judges structured results by the tools' schemas."""
    server = StdioServerParameters(
        command=os.environ["LLM_ROUTER_BIN"], args=["mcp"],
        env={"PATH": os.environ["PATH"], "LLM_ROUTER_URL": router.url, "LLM_ROUTER_API_KEY": KEY, **environment},
    )

    async def main():
        async with Client(server, mode=mode, read_timeout_seconds=SECONDS) as client:
            return await body(client)

    return asyncio.run(asyncio.wait_for(main(), SECONDS))


@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_asked(router, providers, mode):
    async def body(client):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"execute_curl", "list_models", "chat"} <= tools
        models = await client.call_tool("list_models", {})
        assert any(model["id"] == model_on("chat") for model in models.structured_content["models"])
        return await client.call_tool("chat", {"model": model_on("chat"), "messages": [{"role": "user", "content": "Hello?"}]})

    providers.answer("chat", say("Hello!"))
    said = talk(router, body, mode)
    assert not said.is_error and said.structured_content["content"] == "Hello!", said


@pytest.mark.parametrize("mode", MODES)
def test_what_fails_is_said_in_words(router, mode):
    async def body(client):
        return (
            await client.call_tool("chat", {"model": "no-such-model", "messages": [{"role": "user", "content": "x"}]}),
            await client.call_tool("chat", {"model": 7}),
            await client.call_tool("execute_curl", {"command": "curl https://example.org/"}),
        )

    unknown, wrong, elsewhere = talk(router, body, mode)
    assert unknown.is_error and json.loads(unknown.content[0].text)["code"] == "model_not_found"
    assert wrong.is_error and "arguments" in wrong.content[0].text
    assert elsewhere.is_error and router.url in elsewhere.content[0].text


def test_every_guide_can_be_read(router):
    async def body(client):
        found = (await client.list_resources()).resources
        return {str(each.uri): (await client.read_resource(each.uri)).contents[0].text for each in found}

    texts = talk(router, body)
    assert len(texts) == 7 and all(len(text) > 400 for text in texts.values())
    assert "/v1/models" in json.loads(texts["llm-router://api/openapi"])["paths"]


def test_it_says_nothing_but_messages_and_ends_with_its_input(router):
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}
    done = subprocess.run(
        [os.environ["LLM_ROUTER_BIN"], "mcp"], input=f"no json\n{json.dumps(hello)}\n", capture_output=True, text=True, timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "LLM_ROUTER_URL": router.url, "LLM_ROUTER_LOG_LEVEL": "trace"},
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1]
