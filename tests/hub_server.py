"""A small server that speaks the hub's protocol for datasets, on loopback, for tests.

It knows repositories with commits, branches and files, answers what the hub's client asks, and can
refuse, break off or stop as the real one may. It says as little as the client needs.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

INFO = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?")
TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?")
FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
LARGE = 64  # bytes; larger files are named by their SHA-256, as the hub does with LFS


@dataclass
class Repository:
    """The files of each commit, the commit of each branch or tag, and who may have it."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    refusal: tuple[int, str] | None = None  # a status, and a code of the hub

    def commit(self, revision: str) -> str | None:
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    """What the server holds, and what it was asked for."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut_after: int | None = None  # bytes of a file, after which the connection ends
    changed: dict[str, bytes] = field(default_factory=dict)  # sent in place of a file's bytes

    def add(self, name: str, files: dict[str, str | bytes], branch: str = "main") -> str:
        """Commit files to a branch of a repository, made where there is none; the commit."""
        content = {
            path: text.encode() if isinstance(text, str) else text for path, text in files.items()
        }
        one = self.repositories.setdefault(name, Repository({}, {}))
        listed = sorted((path, hashlib.sha1(body).hexdigest()) for path, body in content.items())
        commit = hashlib.sha1(repr((len(one.commits), listed)).encode()).hexdigest()
        one.commits[commit] = content
        one.branches[branch] = commit
        return commit

    def files_asked(self) -> list[str]:
        """The paths of files that were sent, in the order of the questions."""
        return [
            unquote(match[3])
            for line in self.asked
            if line.startswith("GET ") and (match := FILE.fullmatch(line.split()[1]))
        ]


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub without repositories, until the block ends."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        for pattern, answer in ((FILE, self._file), (TREE, self._tree), (INFO, self._info)):
            if match := pattern.fullmatch(path):
                one = self.hub.repositories.get(match[1])
                refusal = (404, "RepoNotFound") if one is None else one.refusal
                if refusal is not None:
                    return self._refuse(*refusal)
                assert one is not None
                commit = one.commit(unquote(match[2] or "main"))
                if commit is None:
                    return self._refuse(404, "RevisionNotFound")
                return answer(match[1], commit, one.commits[commit], match)
        return self._refuse(404, "")

    def _info(self, name: str, commit: str, files: dict[str, bytes], _: re.Match[str]) -> None:
        listed = [_entry(path, content, "rfilename") for path, content in sorted(files.items())]
        self._json({"id": name, "sha": commit, "private": False, "siblings": listed})

    def _tree(self, _: str, commit: str, files: dict[str, bytes], match: re.Match[str]) -> None:
        listed = [
            {"type": "file", "oid": _entry(path, content, "path")["blobId"]}
            | _entry(path, content, "path")
            for path, content in sorted(files.items())
        ]
        self._json(listed)

    def _file(self, _: str, commit: str, files: dict[str, bytes], match: re.Match[str]) -> None:
        path = unquote(match[3])
        if path not in files:
            return self._refuse(404, "EntryNotFound")
        entry = _entry(path, files[path], "path")
        content = self.hub.changed.get(path, files[path])
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["0"])[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{entry.get("lfs", {}).get("sha256", entry["blobId"])}"')
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            end = None if self.hub.cut_after is None else start + self.hub.cut_after
            self.wfile.write(content[start:end])
            if end is not None and end < len(content):
                self.close_connection = True
        return None

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _entry(path: str, content: bytes, name: str) -> dict[str, Any]:
    """A file as the hub lists it: its size, its id for git, and its SHA-256 if it is large."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {name: path, "size": len(content), "blobId": blob}
    if len(content) > LARGE:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": digest, "oid": digest, "size": len(content), "pointerSize": 134}
    return entry
