"""The description of all paths against the running router: schemathesis asks every one of them for what it describes and for what it does not."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading

from programs import Router, new_home

ADMIN = "sk-openapi-admin"
#: A case at each operation is one of thousands: enough to meet what is described wrongly, in a minute or two.
EXAMPLES = 3
SECONDS = 900

#: Operations that are not asked, each with its reason.
LEFT_OUT = [
    "POST /api/nodes",  # A registration calls back to whatever address it names.
    "GET /api/dashboard/request-responses/stream",  # It goes on until the client leaves.
]


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """The hub and the provider of this router: they know nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        is_search = self.path.startswith("/api/models?")
        data = b"[]" if is_search else json.dumps({"error": {"message": "there is no such thing", "type": "not_found_error"}}).encode()
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200 if is_search else 404)
        for name, value in (("content-type", "application/json"), ("content-length", str(len(data)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def elsewhere():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_router_does_what_is_described():
    with new_home() as home, elsewhere() as url:
        account = {"name": "elsewhere", "provider": "openai", "base_url": f"{url}/v1", "api_key": "k", "models": ["a-model"]}
        with open(os.path.join(home, "router.yaml"), "w") as file:
            json.dump({"accounts": [account], "retry": {"max_attempts": 1}, "breaker": {"enabled": False}}, file)
        router = Router(home, environment={"LLM_ROUTER_MASTER_KEY": ADMIN, "HF_BASE_URL": url})
        try:
            router.start()
            command = [
                os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", f"{router.url}/openapi.json",
                "--header", f"Authorization: Bearer {ADMIN}",
                "--checks", "no_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,success_is_described",
                "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--generation-deterministic", "--seed", "1",
                "--workers", "1", "--request-timeout", "30", "--warnings", "off", "--no-color",
            ]
            for operation in LEFT_OUT:
                command += ["--exclude-name", operation]
            environment = os.environ | {"SCHEMATHESIS_HOOKS": "openapi_checks", "PYTHONPATH": os.path.dirname(__file__)}
            done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=SECONDS)
            assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
            assert router.child.poll() is None, router.output()
        finally:
            router.stop()
