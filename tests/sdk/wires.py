"""Mocked providers, one for each wire: they answer what a test tells them to, and refuse whatever the real one would refuse."""

import contextlib
import importlib.util
import json
import socket
import struct
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import replies
import wire_chat
import wire_gemini
import wire_messages
import wire_responses
from replies import Call, Refusal, Reply, Thought

WIRES = {"chat": wire_chat, "responses": wire_responses, "messages": wire_messages, "gemini": wire_gemini}
# The providers' names for the models; the router's callers have other names for them.
MODELS = {"chat": "gpt-5.2", "responses": "gpt-5.2", "messages": "claude-opus-4-6", "gemini": "gemini-3-pro"}
# Whether the SDKs are here whose types are the measure; an environment with another SDK alone does without.
HAS_TYPES = all(importlib.util.find_spec(name) for name in ("openai", "anthropic", "google"))


def key_for(wire):
    """The credential that the router has for a wire; its clients have another."""
    return f"sk-upstream-{wire}"


class Wrong(Exception):
    """What the provider refuses."""


def with_new_ids(reply, number):
    """The same with ids that no other answer has."""
    if isinstance(reply, Refusal):
        return reply
    return replace(reply, parts=tuple(replace(part, id=f"{part.id}_{number}") if isinstance(part, Call) else part for part in reply.parts))


class Seen:
    """A request that came in."""

    def __init__(self, wire, path, headers, body):
        self.wire, self.path, self.headers, self.body = wire, path, headers, body

    @property
    def turns(self):
        return WIRES[self.wire].asked(self.body)

    @property
    def settings(self):
        return WIRES[self.wire].settings(self.body)

    def to_json(self):
        return {"wire": self.wire, "path": self.path, "headers": self.headers, "body": self.body, "turns": self.turns, "settings": self.settings}

    def of(self, kind):
        """The turns of a kind: `system`, `user`, `assistant`, `call`, `result`, `thought`, `image`."""
        return [turn for turn in self.turns if turn[0] == kind]


class Providers:
    """The running mock. Tests say what it answers and look at what it was asked."""

    def __init__(self):
        self._lock = threading.Lock()
        # What was sealed stays good, as the real ones have it.
        self._issued, self._answered = set(), 0
        self.clear()
        owner = self

        class Handler(_Handler):
            providers = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def clear(self):
        with self._lock:
            self.seen, self.refused, self._replies = [], [], {}

    def base_url(self, wire):
        return f"{self.url}/{wire}/{'v1beta' if wire == 'gemini' else 'v1'}"

    def answer(self, wire, *replies_in_order):
        """What the next requests on a wire are answered with; the last reply also answers all that come after."""
        with self._lock:
            self._replies[wire] = list(replies_in_order)

    @property
    def last(self):
        return self.seen[-1]

    def take(self, seen, wire):
        """Checks a request as the provider would and picks its answer."""
        with self._lock:
            self.seen.append(seen)
            issued = set(self._issued)
        try:
            self._check(seen, wire, issued)
        except Wrong as wrong:
            self.refused.append(f"{wire} {seen.path}: {wrong}")
            return Refusal(401 if "api key" in str(wrong) else 400, str(wrong))
        with self._lock:
            waiting = self._replies.get(wire) or [Reply(parts=("nobody said what to answer",))]
            reply = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self._answered += 1
            reply = with_new_ids(reply, self._answered)
            for part in getattr(reply, "parts", ()):
                if isinstance(part, Thought):
                    self._issued.add((part.text, part.seal))
                elif isinstance(part, Call) and part.seal:
                    self._issued.add((None, part.seal))
        return reply

    def _check(self, seen, wire, issued):
        module = WIRES[wire]

        def need(is_so, what):
            if not is_so:
                raise Wrong(what)

        need(module.key_of(seen.headers) == key_for(wire), "invalid x-api-key: no such api key")
        need(module.model_of(seen.path, seen.body) == MODELS[wire], f"no model {module.model_of(seen.path, seen.body)!r}")
        try:
            module.check(seen.path, seen.body, seen.headers, need, issued)
            if HAS_TYPES:
                module.check_shape(seen.path, seen.body)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise Wrong(f"wrong shape: {error!r}") from error
        except Exception as error:
            raise Wrong(str(error)) from error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    providers = None

    def log_message(self, *_):
        """Quiet: what was asked is kept anyway."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        _, wire, path = self.path.split("/", 2)
        if wire == "control":
            return self._control(path, json.loads(body or b"null"))
        module = WIRES.get(wire)
        if module is None or not any(path.split("?")[0].endswith(known) for known in module.PATHS):
            return self._json(404, {"error": {"message": f"no such path: {self.path}"}})
        body = json.loads(body)
        seen = Seen(wire, f"/{path}", {name.lower(): value for name, value in self.headers.items()}, body)
        reply = self.providers.take(seen, wire)
        if isinstance(reply, Refusal):
            return self._json(reply.status, module.error(reply.status, reply.message), reply.headers)
        named = body | {"model": module.model_of(seen.path, body)} | ({"counts": True} if ":countTokens" in path else {})
        if module.is_stream(seen.path, body):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                return self._stream(module, reply, named)
            return None
        time.sleep(reply.pause_s)
        return self._json(200, module.whole(reply, named))

    do_GET = do_POST

    def _json(self, status, value, headers=None):
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, module, reply, body):
        frames, before_end = module.frames(reply, body)
        if reply.broken:
            frames = frames[:before_end] + ([module.error_frame("the provider broke down")] if reply.broken == "error" else [])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for index, frame in enumerate(frames):
            if index == len(frames) // 2:
                time.sleep(reply.pause_s)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        if reply.broken == "closed":
            # Without the last chunk, and with a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _control(self, path, value):
        """What clients in other languages say: `answer/WIRE` with replies, `seen` and `clear`."""
        providers = self.providers
        if path.startswith("answer/"):
            providers.answer(path.removeprefix("answer/"), *(replies.from_json(one) for one in value))
            return self._json(200, {})
        if path == "seen":
            return self._json(200, {"seen": [seen.to_json() for seen in providers.seen], "refused": providers.refused})
        providers.clear()
        return self._json(200, {})
