"""A local server that answers the requests of huggingface_hub from a dictionary."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"


class Hub:
    """Repositories by name: a list of commits, each all files by name; the last is main."""

    def __init__(self, url):
        self.url = url
        self.repos, self.visibility, self.gated, self.requests = {}, {}, set(), []

    def commit(self, repo, files):
        self.repos.setdefault(repo, []).append(files)

    def sha(self, repo, number):
        return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()

    def files(self, repo, revision="main"):
        """Return the files of a revision and its hash, or None if it does not exist."""
        commits = self.repos[repo]
        known = {self.sha(repo, i): files for i, files in enumerate(commits)}
        sha = self.sha(repo, len(commits) - 1) if revision == "main" else revision
        return (known[sha], sha) if sha in known else None


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def say(self, status, body=b"", **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status, code, words=""):
        self.say(status, {"error": words}, X_Error_Code=code, X_Error_Message=words)

    @property
    def path_parts(self):
        return unquote(urlsplit(self.path).path)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path_parts
        self.hub.requests.append((self.command, path))
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = about or file
        if found is None or found[1] not in self.hub.repos:
            return self.refuse(401, "RepoNotFound")
        if found[1] in self.hub.gated:
            return self.refuse(403, "GatedRepo", "Access is restricted")
        revision = (found[3] if about else found[2]) or "main"
        at = self.hub.files(found[1], revision)
        if at is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.about(found, *at) if about else self.file(found[3], *at)

    def about(self, found, files, sha):
        if found[2] != "tree":
            private = self.hub.visibility.get(found[1]) == "private"
            return self.say(200, {"id": found[1], "sha": sha, "private": private, "siblings": []})
        rows = [
            {"type": "file", "path": name, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
            for name, c in files.items()
        ]
        return self.say(200, rows)

    def file(self, name, files, sha):
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        return self.say(200, files[name], ETag=etag, X_Repo_Commit=sha)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.requests.append((self.command, self.path_parts))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(403, "", "You don't have the rights to write here")
        if self.path_parts == "/api/validate-yaml":
            return self.say(200, {"errors": [], "warnings": []})
        if self.path_parts == "/api/repos/create":
            return self.create(json.loads(body))
        repo, step = re.match(r"/api/models/([^/]+/[^/]+)/(\w+)/", self.path_parts).groups()
        if step == "preupload":
            files = [f["path"] for f in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return self.say(200, {"files": [{"path": p, **modes} for p in files]})
        return self.add(repo, [json.loads(line) for line in body.splitlines()])

    def create(self, request):
        repo = f"{request['organization']}/{request['name']}"
        known = repo in self.hub.repos
        self.hub.repos.setdefault(repo, [{}])
        self.hub.visibility.setdefault(repo, request.get("visibility"))
        self.say(409 if known else 200, {"url": f"{self.hub.url}/{repo}"})

    def add(self, repo, lines):
        files = dict(self.hub.repos[repo][-1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.hub.commit(repo, files)
        sha = self.hub.files(repo)[1]
        url = f"{self.hub.url}/{repo}/commit/{sha}"
        self.say(200, {"success": True, "commitOid": sha, "commitUrl": url})


@contextmanager
def loopback_hub():
    """Run a hub while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answers,), {}))
    hub = server.RequestHandlerClass.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
