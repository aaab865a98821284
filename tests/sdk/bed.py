"""A router in front of one mocked provider for each wire. Run as a program it starts them for a command in another language:

    python bed.py node --test tests/sdk-js/
"""

import contextlib
import json
import os
import subprocess
import sys

from programs import KEY, MODEL, Router, new_home, put_model
from wires import MODELS, WIRES, Providers, key_for

# Names under which callers know each wire's model. SDKs judge models by their names, so each dialect has one that sounds like its own.
FAMILIES = {"": "", "gpt": "gpt-5-", "claude": "claude-opus-4-6-", "gemini": "gemini-3-pro-"}
_PROVIDER = {"chat": "custom", "responses": "openai", "messages": "anthropic", "gemini": "google"}


def model_on(wire, family=""):
    """The public name of the model behind a wire."""
    return f"{FAMILIES[family]}on-{wire}"


def _settings(providers):
    accounts = []
    for wire in WIRES:
        names = [model_on(wire, family) for family in FAMILIES]
        accounts.append({
            "name": f"{wire}-account", "provider": _PROVIDER[wire], "wire": wire, "base_url": providers.base_url(wire), "api_key": key_for(wire),
            "models": names, "model_map": {name: MODELS[wire] for name in names}, "timeouts": {"first_byte": "20s", "idle": "5s"},
        })
    # One try: what goes wrong is to be seen, not mended. Short silences are filled, so that the SDKs meet what fills them.
    # Accounts that are made to fail again and again are asked all the same.
    return {
        "accounts": accounts, "retry": {"max_attempts": 1}, "breaker": {"enabled": False}, "stream": {"keepalive": "100ms"},
    }


@contextlib.contextmanager
def gateway(with_model=False):
    """(router, providers), both running."""
    providers = Providers()
    try:
        with new_home() as home:
            with open(os.path.join(home, "router.yaml"), "w") as file:
                json.dump(_settings(providers), file)
            if with_model:
                put_model(home)
            router = Router(home, ("serve", "--with-node") if with_model else ("serve",))
            try:
                yield router.start(), providers
            finally:
                router.stop()
    finally:
        providers.close()


def main(command):
    with gateway(with_model=True) as (router, providers):
        router.wait_for_model()
        environment = os.environ | {
            "LLM_ROUTER_URL": router.url, "LLM_ROUTER_KEY": KEY, "LLM_PROVIDERS_URL": providers.url, "LLM_LOCAL_MODEL": MODEL,
        }
        status = subprocess.run(command, env=environment).returncode
        if router.child.poll() is not None:
            print(router.output(), file=sys.stderr)
        return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
