"""Fixtures: one router with a node and the real model for all tests that only ask, fresh ones for those that break things."""

import os

import pytest

from bed import gateway
from programs import KEY, running
from wires import WIRES

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
    import openai

    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(scope="session")
def _gateway():
    with gateway() as running_pair:
        yield running_pair


@pytest.fixture
def router(_gateway):
    """A router whose accounts are the mocked providers, one for each wire."""
    return _gateway[0]


@pytest.fixture
def providers(_gateway):
    """The mocked providers, with nothing in their memory. What they refuse fails the test, unless it takes it out of `refused`."""
    made = _gateway[1]
    made.clear()
    yield made
    assert not made.refused, "\n".join(made.refused)


@pytest.fixture(params=WIRES)
def wire(request):
    """Each wire in turn."""
    return request.param


@pytest.fixture
def start():
    """start(arguments, environment, with_model) starts a router of this test's own."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda *arguments, environment=None, with_model=False: stack.enter_context(
            running(("serve", *arguments), environment, with_model)
        )
