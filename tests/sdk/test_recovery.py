"""What happens when a process is killed: nothing acknowledged is lost, and the next request works."""

import http.client
import json
import os
import signal

from programs import KEY, MODEL, bearer, processes_of


class Stream:
    """A streamed chat, read event by event."""

    def __init__(self, router, max_tokens):
        body = {
            "model": MODEL, "stream": True, "max_tokens": max_tokens, "ignore_eos": True,
            "messages": [{"role": "user", "content": "Tell a long story."}],
        }
        self.connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=60)
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", **bearer(KEY)})
        self.answer = self.connection.getresponse()

    def events(self):
        """The `data:` lines until the connection ends, however it ends."""
        try:
            for line in self.answer:
                if line.startswith(b"data: "):
                    yield line[6:].strip().decode()
        except (http.client.IncompleteRead, ConnectionError):
            return
        finally:
            self.connection.close()


def kill_during_a_stream(router, program):
    """Starts a stream, kills `program` after a few events, and returns what followed the kill."""
    victims = processes_of(router.home, program)
    assert len(victims) == 1, victims
    events = Stream(router, max_tokens=1500).events()
    for _ in range(5):
        assert "error" not in json.loads(next(events))
    os.kill(victims[0], signal.SIGKILL)
    return victims[0], list(events)


def assert_one_error_at_the_end(events):
    errors = [event for event in events if event != "[DONE]" and "error" in json.loads(event)]
    assert len(errors) == 1, events[-3:]
    assert json.loads(errors[0])["error"]["code"]
    assert events[-1] == errors[0], "an error ends the stream, without the normal end mark"


def test_a_killed_node_comes_back_by_itself(start):
    router = start("--with-node", with_model=True)
    router.wait_for_model()
    killed, events = kill_during_a_stream(router, "llm-node")
    assert_one_error_at_the_end(events)
    router.wait("the node is back", lambda: any(pid != killed for pid in processes_of(router.home, "llm-node")))
    router.wait("the model answers again", lambda: router.chat(MODEL, max_tokens=2).status == 200, seconds=120)


def test_a_killed_worker_is_replaced_under_a_running_node(start):
    router = start("--with-node", with_model=True)
    router.wait_for_model()
    node = processes_of(router.home, "llm-node")
    killed, events = kill_during_a_stream(router, "llm-node-worker")
    assert_one_error_at_the_end(events)
    assert router.chat(MODEL, max_tokens=2).status == 200
    assert processes_of(router.home, "llm-node") == node, "the node itself stays"
    assert killed not in processes_of(router.home, "llm-node-worker")


def test_a_killed_router_forgets_no_key(start):
    router = start()
    made = router.command("key", "create", "--name", "kept", "--json")
    key = json.loads(made.stdout)["key"]
    router.wait("the key is known", lambda: router.chat("dummy", key=key).status == 200)
    router.child.kill()
    router.child.wait()
    router.start()
    assert router.chat("dummy", key=key).status == 200


def test_a_killed_router_takes_its_node_with_it_and_starts_again(start):
    router = start("--with-node", with_model=True)
    router.wait_for_model()
    node = processes_of(router.home, "llm-node")
    router.child.kill()
    router.child.wait()
    from programs import wait_until

    wait_until("the old node is gone", lambda: not set(node) & set(processes_of(router.home, "llm-node")))
    router.start()
    router.wait_for_model()
