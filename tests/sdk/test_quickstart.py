"""The shortest ways in: no key and the dummy, commands beside a running router, and a clean end."""

import json
import os
import re
import signal

from programs import KEY, MODEL, processes_of, wait_until


def test_without_authentication_dummy_answers_hello_world(start):
    router = start(environment={"LLM_ROUTER_AUTH_MODE": "off", "LLM_ROUTER_API_KEYS": ""})
    answer = router.post("/v1/chat/completions", '{"model":"dummy","messages":[{"role":"user","content":"hi"}]}', key=None)
    assert answer.status == 200
    body = answer.json
    assert body["object"] == "chat.completion"
    assert body["model"] == "dummy"
    choice = body["choices"][0]
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "Hello world"
    assert choice["finish_reason"] == "stop"


def test_a_key_made_by_command_works_at_once_and_not_after_it_is_revoked(start):
    router = start()
    made = router.command("key", "create", "--name", "mine", "--json")
    assert made.returncode == 0, made.stderr
    made = json.loads(made.stdout)
    assert made["key"].startswith("sk_")
    router.wait("the key is known", lambda: router.chat("dummy", key=made["key"]).status == 200)
    listed = router.command("key", "list", "--json")
    assert made["key"] not in listed.stdout and "mine" in listed.stdout
    assert router.command("key", "revoke", made["id"]).returncode == 0
    router.wait("the key is refused", lambda: router.chat("dummy", key=made["key"]).status == 401)


def test_settings_are_shown_with_their_origin_and_without_secrets(start):
    router = start()
    shown = router.command("config", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    port = json.loads(shown.stdout)["settings"]["server.port"]
    assert port["value"] == str(router.port) and "LLM_ROUTER_PORT" in port["origin"]
    assert KEY not in shown.stdout


def test_probes_and_metrics_are_open(start):
    router = start(environment={"LLM_ROUTER_API_KEYS": KEY})
    for path in ("/health", "/_health/live"):
        assert router.get(path, key=None).status == 200, path
    router.chat("dummy")
    assert b"router_requests_total" in router.get("/metrics", key=None).body


def test_ctrl_c_ends_router_node_and_worker_with_status_0(start):
    router = start("--with-node", with_model=True)
    router.wait_for_model()
    assert processes_of(router.home, "llm-node") and processes_of(router.home, "llm-node-worker")
    assert router.stop(signal.SIGINT) == 0, router.output()
    for program in ("llm-node", "llm-node-worker"):
        wait_until(f"{program} is gone", lambda: not processes_of(router.home, program), seconds=10)


def test_the_log_has_requests_but_no_prompt(start):
    router = start()
    router.chat("dummy", "a very private sentence")
    assert router.stop() == 0
    assert "dummy" in router.output()
    assert "private sentence" not in router.output()


def test_the_local_model_is_also_known_by_its_node_name(house):
    assert house.chat(MODEL, max_tokens=4).headers["x-request-id"]


def test_the_readmes_configuration_is_valid(start):
    router = start(environment={"OPENAI_API_KEY": "sk-somebody"})
    with open(os.path.join(os.path.dirname(__file__), "../../README.md"), encoding="utf-8") as file:
        (text,) = re.findall(r"^```yaml\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
    path = os.path.join(router.home, "from-readme.yaml")
    with open(path, "w") as file:
        file.write(text)
    checked = router.command("config", "check", "--config", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
