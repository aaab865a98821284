"""Several nodes with the scripted engine, which repeats the prompt: what happens when one is killed, or is told to end, under load."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import struct
import subprocess
import threading

import pytest

from programs import KEY, bearer, free_port, new_home, running, wait_until

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
WORDS = " ".join(f"w{n}" for n in range(60))
ADMIN = "sk-black-box-admin"


def model_file():
    """The header of a model, which is all that the scripted engine reads."""
    text = lambda value: struct.pack("<Q", len(value)) + value.encode()
    pairs = {"general.architecture": "llama", "tokenizer.chat_template": TEMPLATE}
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    return head + b"".join(text(name) + struct.pack("<I", 8) + text(value) for name, value in pairs.items())


class Node:
    def __init__(self, home, name, router, slots=8, delay=20, script=""):
        self.home, self.port = os.path.join(home, name), free_port()
        os.makedirs(os.path.join(self.home, "models"))
        with open(os.path.join(self.home, "models", f"tiny+delay={delay}{script}.gguf"), "wb") as file:
            file.write(model_file())
        environment = {
            "PATH": os.environ["PATH"], "HOME": self.home, "LLM_NODE_MODELS_DIR": os.path.join(self.home, "models"), "LLM_NODE_SLOTS": str(slots),
            "LLM_NODE_LOG_DIR": os.path.join(self.home, "logs"), "LLM_ROUTER_URL": router.url, "LLM_NODE_IP": "127.0.0.1", "LLM_NODE_HEARTBEAT_SECS": "1",
        }
        self.child = subprocess.Popen(
            [os.environ["LLM_NODE_BIN"], "serve", "--scripted", "--port", str(self.port), "--bind", "127.0.0.1"],
            env=environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.router, self.name = router, name

    def join(self):
        wait_until(f"{self.name} is online", lambda: self.seen().get("status") == "online")
        path = f"/api/nodes/{self.seen()['id']}/settings"
        self.router.request("PUT", path, json.dumps({"custom_name": self.name}), {"content-type": "application/json", **bearer(ADMIN)})

    def seen(self):
        return next((node for node in nodes(self.router) if node["node_api_port"] == self.port), {})

    def end(self, how):
        self.child.send_signal(how)
        return self.child.wait(30)


def nodes(router):
    return json.loads(router.get("/api/nodes", ADMIN).body)


@pytest.fixture
def fleet():
    """fleet(names, slots) starts a router and nodes; gives the router, the model's name, and the nodes."""
    with contextlib.ExitStack() as stack:
        def make(names, **more):
            router = stack.enter_context(running(environment={"LLM_ROUTER_MASTER_KEY": ADMIN}))
            home = stack.enter_context(new_home())
            made = [Node(home, name, router, **more) for name in names]
            for node in made:
                stack.callback(node.child.wait)
                stack.callback(node.child.kill)
            for node in made:
                node.join()
            model = made[0].seen()["available_models"][0]
            return router, model, made

        yield make


class Stream(threading.Thread):
    """A streamed chat in a thread of its own."""

    def __init__(self, router, model, path="/v1/chat/completions", headers=None, **more):
        super().__init__(daemon=True)
        self.router, self.model, self.target, self.events, self.began = router, model, None, [], threading.Event()
        self.path, self.headers, self.more, self.comments = path, headers or {}, more, []
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.router.port, timeout=60)
        body = {"model": self.model, "stream": True, "messages": [{"role": "user", "content": WORDS}], **self.more}
        connection.request("POST", self.path, json.dumps(body), {"content-type": "application/json", **bearer(KEY), **self.headers})
        answer = connection.getresponse()
        self.target = answer.getheader("x-llm-router-target")
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            for line in answer:
                if line.startswith(b": "):
                    self.comments.append(line[2:].strip().decode())
                if line.startswith(b"data: "):
                    self.events.append(line[6:].strip().decode())
                    if len(self.events) > 3:
                        self.began.set()
        self.began.set()

    def text(self):
        chunks = [json.loads(event) for event in self.events if event != "[DONE]"]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", []))


def begin(router, model, count):
    streams = [Stream(router, model) for _ in range(count)]
    for stream in streams:
        assert stream.began.wait(30), "a stream did not begin"
    return streams


def all_idle(router):
    return all(node["active_requests"] == 0 for node in nodes(router) if node["state"] != "gone")


def test_a_killed_node_costs_its_own_streams_only_and_is_not_picked_again(fleet):
    router, model, (first, second) = fleet(["first", "second"])
    streams = begin(router, model, 8)
    assert {stream.target for stream in streams} == {"first", "second"}
    first.end(signal.SIGKILL)
    after = [router.chat(model, "a b") for _ in range(30)]
    assert {answer.headers["x-llm-router-target"] for answer in after} == {"second"}
    assert [answer.status for answer in after] == [200] * 30
    for stream in streams:
        stream.join(30)
        if stream.target == "second":
            assert stream.events[-1] == "[DONE]" and stream.text() == WORDS
        else:
            assert "error" in json.loads(stream.events[-1]) and "[DONE]" not in stream.events
    wait_until("no request is left", lambda: all_idle(router))


def test_a_node_that_is_killed_while_idle_is_never_noticed_by_a_caller(fleet):
    router, model, (first, second) = fleet(["first", "second"], delay=1)
    for _ in range(4):
        assert router.chat(model, "a b").status == 200
    first.end(signal.SIGKILL)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: router.chat(model, "a b"), range(40)))
    assert [answer.status for answer in answers] == [200] * 40
    assert {answer.headers["x-llm-router-target"] for answer in answers} == {"second"}


def test_a_node_that_is_told_to_end_finishes_its_streams_and_gets_nothing_new(fleet):
    router, model, (first, second) = fleet(["first", "second"])
    streams = begin(router, model, 8)
    first.child.send_signal(signal.SIGTERM)
    wait_until("it says so", lambda: first.seen()["state"] in ("draining", "suspect", "gone"))
    after = [router.chat(model, "a b") for _ in range(10)]
    assert {(answer.status, answer.headers["x-llm-router-target"]) for answer in after} == {(200, "second")}
    for stream in streams:
        stream.join(30)
        assert stream.events[-1] == "[DONE]" and stream.text() == WORDS, stream.target
    assert first.child.wait(30) == 0


def test_more_requests_than_places_wait_their_turn(fleet):
    router, model, nodes_made = fleet(["first", "second"], slots=2, delay=5)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: router.chat(model, "a b c d"), range(80)))
    assert [answer.status for answer in answers] == [200] * 80
    served = [answer.headers["x-llm-router-target"] for answer in answers]
    assert min(served.count("first"), served.count("second")) >= 20, "both work"
    assert all(json.loads(answer.body)["choices"][0]["message"]["content"] == "a b c d" for answer in answers)
    wait_until("no request is left", lambda: all_idle(router))


COUNTED = " ".join(str(n) for n in range(1, 101))


def texts(event):
    """What a frame of any of three dialects says."""
    if "choices" in event:
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    if event.get("type") == "content_block_delta":
        return event["delta"].get("text", "")
    return event["delta"] if event.get("type") == "response.output_text.delta" else ""


def ids(event):
    return {event.get("id"), (event.get("message") or {}).get("id"), (event.get("response") or {}).get("id")} - {None}


@pytest.mark.parametrize(
    ("path", "more", "end"),
    [
        ("/v1/chat/completions", {"stream_options": {"include_usage": True}}, "[DONE]"),
        ("/v1/messages", {"max_tokens": 500}, "message_stop"),
        ("/v1/responses", {"messages": None, "input": "count"}, "response.completed"),
    ],
)
def test_a_stream_goes_on_elsewhere_when_its_node_is_killed_and_the_request_wants_that(fleet, path, more, end):
    router, model, made = fleet(["first", "second"], script="+count=100")
    more = {name: value for name, value in more.items() if value is not None}
    stream = Stream(router, model, path, {"x-resume": "true", "x-request-id": "resumed"}, **more)
    assert stream.began.wait(30)
    next(node for node in made if node.name == stream.target).end(signal.SIGKILL)
    stream.join(30)
    events = [json.loads(event) for event in stream.events if event != "[DONE]"]
    assert "".join(map(texts, events)) == COUNTED, "each token once, in order"
    assert end in stream.events[-1] and not any("error" in event for event in stream.events if '"error":null' not in event)
    assert stream.comments.count("x-resumed: 1") == 1
    assert len(set().union(*map(ids, events))) == 1, "one answer has one id"
    said = [event.get("usage") or (event.get("response") or {}).get("usage") for event in events]
    usage = next(usage for usage in reversed(said) if usage)
    assert usage.get("completion_tokens", usage.get("output_tokens")) == 100
    explained = lambda: router.get("/api/requests/resumed/explain", ADMIN)
    wait_until("it is recorded", lambda: explained().status == 200)
    attempts = explained().json["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["broken", "served"] and "resumed" in attempts[0]["error"], attempts
    assert b'router_resumed_streams_total{outcome="resumed"} 1' in router.get("/metrics").body
    wait_until("no request is left", lambda: all_idle(router))


def test_what_cannot_go_on_in_the_middle_ends_with_an_error(fleet):
    router, model, (first, second) = fleet(["first", "second"], script="+count=100")
    plain = Stream(router, model)
    choices = Stream(router, model, headers={"x-resume": "true"}, n=2)
    refused = Stream(router, model, headers={"x-resume": "false"})
    streams = [plain, choices, refused]
    assert all(stream.began.wait(30) for stream in streams)
    for node in (first, second):
        node.end(signal.SIGKILL)
    for stream in streams:
        stream.join(30)
        assert json.loads(stream.events[-1])["error"]["code"] == "node_lost" and "[DONE]" not in stream.events


def test_a_stream_that_nobody_can_go_on_with_ends_with_an_error_and_its_counts(fleet):
    router, model, (only,) = fleet(["only"], script="+count=100")
    stream = Stream(router, model, headers={"x-resume": "true", "x-request-id": "lost"})
    assert stream.began.wait(30)
    only.end(signal.SIGKILL)
    stream.join(30)
    assert json.loads(stream.events[-1])["error"]["code"] == "node_lost" and "[DONE]" not in stream.events
    assert b'router_resumed_streams_total{outcome="failed"} 1' in router.get("/metrics").body
