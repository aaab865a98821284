"""Wrong input of every kind: a clear error, nothing hangs, and the next good request works."""

import os
import socket

import pytest

from programs import KEY, MODEL, Router, new_home, put_model, running

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def router():
    with running() as made:
        yield made
        assert made.chat("dummy").status == 200, "still serving after all of this"


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "\"text\"", "{\"model\":\"dummy\"", "\x00", "{\"model\":\"dummy\",\"messages\":[}]}"])
def test_broken_json_is_a_400(router, body):
    answer = router.post(CHAT, body)
    assert (answer.status, answer.code) == (400, "invalid_request"), answer.body


def assert_names_the_field(answer, field):
    assert (answer.status, answer.code) == (400, "invalid_request"), answer.body
    assert field in (answer.json["error"]["param"] or "") + answer.json["error"]["message"]


def body_with(model, field, value):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]} | {field: value}


@pytest.mark.parametrize("field, value", [("messages", "hi"), ("model", 7), ("stream", "yes")])
def test_a_wrong_type_that_the_router_reads_is_a_400_that_names_the_field(router, field, value):
    assert_names_the_field(router.post(CHAT, body_with("dummy", field, value)), field)


@pytest.mark.parametrize("field, value", [("messages", "hi"), ("messages", [7]), ("max_tokens", "many"), ("temperature", []), ("stop", 7), ("top_p", 2)])
def test_a_wrong_value_that_the_node_reads_is_a_400_that_names_the_field(house, field, value):
    assert_names_the_field(house.post(CHAT, body_with(MODEL, field, value)), field)


def test_unknown_paths_and_methods(router):
    assert router.get("/v1/nowhere").status == 404
    assert router.request("DELETE", CHAT, headers={"authorization": f"Bearer {KEY}"}).status == 405


def test_a_body_of_100_mb_is_refused_without_reading_it_all(router):
    """The client may be cut off while it still sends; what it must see is the 413."""
    length = 100 << 20
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", router.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


def test_a_body_without_length_is_cut_at_the_limit(router):
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", router.port), timeout=30) as connection:
        connection.sendall(head.encode())
        sent, answer = 0, b""
        try:
            while sent < 100:
                connection.sendall(piece)
                sent += 1
        except OSError:
            pass
        try:
            answer = connection.recv(64)
        except ConnectionResetError:
            pass
    assert sent < 100 or answer.startswith(b"HTTP/1.1 413"), (sent, answer)


@pytest.mark.parametrize("text, words", [
    ("servr:\n  port: 9000\n", ["servr", "server"]),
    ("server:\n  max_body: many\n", ["server.max_body", "many"]),
    ("server: [\n", []),
])
def test_a_bad_configuration_file_is_explained_and_refused(text, words):
    with new_home() as home:
        path = os.path.join(home, "router.yaml")
        with open(path, "w") as file:
            file.write(text)
        checked = Router(home).command("config", "check", "--config", path)
        assert checked.returncode != 0
        for word in words:
            assert word in checked.stderr + checked.stdout


def test_a_bad_value_in_the_environment_is_explained_and_refused():
    with new_home() as home:
        checked = Router(home, environment={"LLM_ROUTER_PORT": "eighty"}).command("serve")
        assert checked.returncode not in (0, 101)
        assert "LLM_ROUTER_PORT" in checked.stderr + checked.stdout and "eighty" in checked.stderr + checked.stdout


def test_authentication_off_on_a_public_address_is_refused():
    with new_home() as home:
        checked = Router(home, environment={"LLM_ROUTER_AUTH_MODE": "off", "LLM_ROUTER_HOST": "0.0.0.0"}).command("serve")
        assert checked.returncode not in (0, 101)
        assert "LLM_ROUTER_ALLOW_INSECURE" in checked.stderr + checked.stdout


def test_a_corrupt_model_file_is_an_error_and_its_neighbour_works():
    with new_home() as home:
        put_model(home)
        source = os.environ["LLM_TEST_GGUF"]
        with open(source, "rb") as good, open(os.path.join(home, "models", "broken.gguf"), "wb") as bad:
            bad.write(good.read(200_000))
        with open(os.path.join(home, "models", "nonsense.gguf"), "wb") as bad:
            bad.write(b"not a model at all")
        router = Router(home, ("serve", "--with-node")).start()
        try:
            router.wait_for_model()
            for name in ("broken", "nonsense"):
                answer = router.chat(name, max_tokens=2)
                assert answer.status >= 400 and answer.code, answer.body
            assert router.chat(MODEL, max_tokens=2).status == 200
        finally:
            router.stop()
