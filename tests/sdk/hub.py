"""A hub with repositories from folders of this machine: its API as far as the router and its nodes ask it, files whole and in ranges."""

import hashlib
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0ff"


class Hub:
    """`repositories` are folders by `owner/name`; more may be put in while it runs."""

    def __init__(self, repositories):
        self.repositories = dict(repositories)
        hub = self

        class Asked(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, asked):
        path = asked.path.split("?")[0].removeprefix("/")
        for repository, folder in self.repositories.items():
            if re.fullmatch(f"api/models/{repository}(/revision/[^/]+)?", path):
                return say(asked, 200, json.dumps({"id": repository, "sha": COMMIT, "tags": [], "siblings": siblings(folder)}).encode())
            if found := re.fullmatch(f"{repository}/resolve/[^/]+/(.+)", path):
                file = os.path.join(folder, found[1])
                if os.path.isfile(file) and found[1] in files(folder):
                    return give(asked, file)
        say(asked, 404, b'{"error": "not found"}')


def files(folder):
    found = [os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names]
    return sorted(name.replace(os.sep, "/") for name in found)


def siblings(folder):
    all_files = []
    for name in files(folder):
        path = os.path.join(folder, name)
        about = {"rfilename": name, "size": os.path.getsize(path)}
        if name.endswith((".safetensors", ".gguf")):
            with open(path, "rb") as file:
                about["lfs"] = {"size": about["size"], "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        all_files.append(about)
    return all_files


def give(asked, path):
    size = os.path.getsize(path)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    start = int(wanted[1]) if wanted else 0
    end = min(int(wanted[2]) + 1 if wanted and wanted[2] else size, size)
    with open(path, "rb") as file:
        file.seek(start)
        body = file.read(end - start)
    say(asked, 206 if wanted else 200, body, {"content-range": f"bytes {start}-{end - 1}/{size}"} if wanted else {})


def say(asked, status, body, headers=()):
    asked.send_response(status)
    for name, value in {"content-length": str(len(body)), "accept-ranges": "bytes", **dict(headers)}.items():
        asked.send_header(name, value)
    asked.end_headers()
    if asked.command != "HEAD":
        asked.wfile.write(body)
