"""Starts the built programs as a user would: free ports, a data directory of their own, nothing of this machine's settings."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_SECONDS = 60
STOP_SECONDS = 20
KEY = "sk-black-box-key"
MODEL = "smollm2-135m-instruct"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, is_so, seconds=START_SECONDS):
    """Polls `is_so` until it returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if result := is_so():
                return result
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Router:
    """A running llm-router with its own home. `environment` replaces or adds settings; an empty value removes one."""

    def __init__(self, home, arguments=("serve",), environment=None):
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = list(arguments)
        self.log = os.path.join(home, "output.log")
        self.environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
        self.environment |= {
            "HOME": home,
            "LLM_ROUTER_DATA_DIR": home,
            "LLM_ROUTER_HOST": "127.0.0.1",
            "LLM_ROUTER_PORT": str(self.port),
            "LLM_ROUTER_API_KEYS": KEY,
            "LLM_NODE_PORT": str(free_port()),
            "LLM_NODE_THREADS": "1",
        }
        self.environment |= environment or {}
        self.environment = {name: value for name, value in self.environment.items() if value}
        self.child = None

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [os.environ["LLM_ROUTER_BIN"], *self.arguments],
                env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.wait("the router answers", lambda: self.get("/health").status == 200)
        return self

    def wait(self, what, is_so, seconds=START_SECONDS):
        def is_so_or_dead():
            if self.child.poll() is not None:
                raise AssertionError(f"the router ended with {self.child.returncode}:\n{self.output()}")
            return is_so()

        try:
            return wait_until(what, is_so_or_dead, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def wait_for_model(self, key=KEY):
        """Until the node is registered and its model answers: the first answer loads it."""
        self.wait(f"{MODEL} is listed", lambda: MODEL in self.get("/v1/models", key).body.decode())
        self.wait(f"{MODEL} answers", lambda: self.chat(MODEL, max_tokens=1, key=key).status == 200, seconds=120)

    def output(self):
        with open(self.log, "rb") as log:
            return log.read()[-4000:].decode(errors="replace")

    def request(self, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, dict((name.lower(), value) for name, value in answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path, key=KEY):
        return self.request("GET", path, headers=bearer(key))

    def post(self, path, body, key=KEY, timeout=60):
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.request("POST", path, text, {"content-type": "application/json", **bearer(key)}, timeout)

    def chat(self, model, text="Hi", key=KEY, path="/v1/chat/completions", **more):
        return self.post(path, {"model": model, "messages": [{"role": "user", "content": text}], **more}, key)

    def command(self, *arguments):
        """Runs a command of llm-router beside the running one, on the same data directory."""
        environment = {name: value for name, value in self.environment.items() if not name.startswith("LLM_ROUTER_API_KEY")}
        return subprocess.run(
            [os.environ["LLM_ROUTER_BIN"], *arguments], env=environment, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )

    def stop(self, signal_number=signal.SIGTERM):
        """Sends the signal and returns the exit status; a router that does not end is killed and fails the test."""
        if self.child is None or self.child.poll() is not None:
            return self.child.returncode if self.child else None
        self.child.send_signal(signal_number)
        try:
            return self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
            raise AssertionError(f"the router did not end within {STOP_SECONDS} s:\n{self.output()}") from None


def bearer(key):
    return {"authorization": f"Bearer {key}"} if key else {}


def processes_of(home, program):
    """Ids of the running processes of `program` that were started with this home."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                name = os.path.basename(file.read().split(b"\0")[0].decode())
            with open(f"/proc/{entry}/environ", "rb") as file:
                is_ours = home.encode() in file.read()
            if name == program and is_ours:
                found.append(int(entry))
    return found


def put_model(home):
    """The real model in the models directory of `home`: a link if possible, a copy otherwise."""
    models = os.path.join(home, "models")
    os.makedirs(models, exist_ok=True)
    source = os.environ["LLM_TEST_GGUF"]
    target = os.path.join(models, os.path.basename(source))
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def new_home():
    home = tempfile.mkdtemp(prefix="llm-router-test-")
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def running(arguments=("serve",), environment=None, with_model=False):
    with new_home() as home:
        if with_model:
            put_model(home)
        router = Router(home, arguments, environment)
        try:
            yield router.start()
        finally:
            router.stop()
