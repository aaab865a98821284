"""Fixtures: one router with a node and the real model for all tests that only ask, fresh ones for those that break things."""

import os

import openai
import pytest

from programs import KEY, running

for name in ("LLM_ROUTER_BIN", "LLM_NODE_BIN", "LLM_TEST_GGUF"):
    if not os.path.isfile(os.environ.get(name, "")):
        pytest.exit(f"{name} must name a file: `cargo xtask black-box` builds, downloads and sets it", returncode=2)


@pytest.fixture(scope="session")
def house():
    """A router with a node that has the real model loaded. Tests must leave it as it was."""
    with running(("serve", "--with-node"), with_model=True) as router:
        router.wait_for_model()
        yield router


@pytest.fixture
def client(house):
    """The official SDK, pointed at the router."""
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture
def start():
    """start(arguments, environment, with_model) starts a router of this test's own."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda *arguments, environment=None, with_model=False: stack.enter_context(
            running(("serve", *arguments), environment, with_model)
        )
