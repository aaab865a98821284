"""The official OpenAI SDK asks for pictures, sound, transcripts and moderation through the router; a mocked provider answers."""

import json
import os
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from programs import KEY, Router, new_home

SOUND = bytes(range(256)) * 4000
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
MODERATION = {"id": "modr-1", "model": "theirs", "results": [{
    "flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}, "category_applied_input_types": {"violence": ["text"]},
}]}
IMAGES = {"created": 1, "data": [{"b64_json": PICTURE}], "usage": {
    "input_tokens": 7, "output_tokens": 9, "total_tokens": 16, "input_tokens_details": {"image_tokens": 0, "text_tokens": 7},
}}
TRANSCRIPT = {"text": "hello there", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}}
EVENTS = [{"type": "transcript.text.delta", "delta": "hello"}, {"type": "transcript.text.done", "text": "hello", "usage": TRANSCRIPT["usage"]}]


class Provider(BaseHTTPRequestHandler):
    """Answers each path as OpenAI does; keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    asked = []

    def log_message(self, *_):
        """Quiet."""

    def do_POST(self):
        body = self._body()
        kind = self.headers["content-type"]
        if kind.startswith("multipart/"):
            form = BytesParser(policy=HTTP).parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
            asked = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in form.iter_parts()}
            asked = {name: value if name in ("file", "image", "image[]", "mask") else value.decode() for name, value in asked.items()}
        else:
            asked = json.loads(body)
        self.asked.append((self.path, dict(self.headers.items()), asked))
        if self.path.endswith("/audio/speech"):
            return self._answer("audio/mpeg", SOUND)
        if asked.get("stream") == "true":
            return self._answer("text/event-stream", "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS).encode())
        said = {"moderations": MODERATION, "generations": IMAGES, "edits": IMAGES, "transcriptions": TRANSCRIPT, "translations": TRANSCRIPT}
        return self._answer("application/json", json.dumps(said[self.path.rsplit("/", 1)[1]]).encode())

    def _body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def router():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    with new_home() as home:
        account = {
            "name": "media", "provider": "openai", "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "api_key": "sk-upstream-media",
            "models": ["ours"], "model_map": {"ours": "theirs"},
        }
        with open(os.path.join(home, "router.yaml"), "w") as file:
            json.dump({"accounts": [account]}, file)
        router = Router(home, ("serve",))
        try:
            yield router.start()
        finally:
            router.stop()
            server.shutdown()
            server.server_close()


@pytest.fixture
def sdk(router):
    Provider.asked.clear()
    return openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0)


def asked():
    """What the provider was asked; the caller's key stays behind, and the model has the provider's name."""
    (path, headers, body), = Provider.asked
    assert headers["Authorization" if "Authorization" in headers else "authorization"] == "Bearer sk-upstream-media" and KEY not in json.dumps(headers)
    assert body["model"] == "theirs"
    return path, body


def test_pictures_are_made(sdk):
    made = sdk.images.generate(model="ours", prompt="a cat", n=1, size="1024x1024")
    assert (made.data[0].b64_json, made.usage.output_tokens) == (PICTURE, 9)
    path, body = asked()
    assert path == "/v1/images/generations" and body["prompt"] == "a cat"


def test_pictures_are_edited(sdk):
    picture = os.urandom(300_000)
    made = sdk.images.edit(model="ours", image=("cat.png", picture, "image/png"), prompt="a hat")
    assert made.data[0].b64_json == PICTURE
    path, body = asked()
    assert path == "/v1/images/edits" and body["image"] == picture and body["prompt"] == "a hat"


def test_speech_streams(sdk):
    with sdk.audio.speech.with_streaming_response.create(model="ours", voice="alloy", input="hello") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert b"".join(answer.iter_bytes()) == SOUND
    assert sdk.audio.speech.create(model="ours", voice="alloy", input="hello").content == SOUND
    assert Provider.asked[0][0] == "/v1/audio/speech" and Provider.asked[0][2]["model"] == "theirs"


def test_sound_is_written_down(sdk):
    sound = os.urandom(3_000_000)
    said = sdk.audio.transcriptions.create(model="ours", file=("a.wav", sound, "audio/wav"))
    assert (said.text, said.usage.input_tokens) == ("hello there", 14)
    path, body = asked()
    assert path == "/v1/audio/transcriptions" and body["file"] == sound
    Provider.asked.clear()
    assert sdk.audio.translations.create(model="ours", file=("a.wav", sound[:10], "audio/wav")).text == "hello there"
    assert asked()[0] == "/v1/audio/translations"


def test_transcripts_stream(sdk):
    events = list(sdk.audio.transcriptions.create(model="ours", file=("a.wav", b"RIFF", "audio/wav"), stream=True))
    assert [event.type for event in events] == [event["type"] for event in EVENTS]
    assert asked()[1]["stream"] == "true"


def test_text_is_moderated(sdk):
    said = sdk.moderations.create(model="ours", input="be nice")
    assert said.results[0].flagged is False
    assert asked() == ("/v1/moderations", {"model": "theirs", "input": "be nice"})


def test_azures_client_finds_its_paths(router):
    Provider.asked.clear()
    azure = openai.AzureOpenAI(azure_endpoint=router.url, api_key=KEY, api_version="2024-10-21", max_retries=0)
    assert azure.audio.transcriptions.create(model="ours", file=("a.wav", b"RIFF", "audio/wav")).text == "hello there"
    assert asked()[0] == "/v1/audio/transcriptions"


def test_a_model_that_nobody_has_is_not_found(sdk):
    with pytest.raises(openai.NotFoundError):
        sdk.audio.transcriptions.create(model="nobodys", file=("a.wav", os.urandom(2_000_000), "audio/wav"))
