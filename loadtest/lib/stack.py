"""The running stack: where it listens, and how its admin API, MySQL and Redis are asked."""

import json
import os
import re
import shlex
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from . import needs

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DIRECTORY = ROOT / ".run"
STRATEGIES = ("lua", "watch", "optimistic", "serializable")
GATE_STRATEGIES = ("lua", "watch")
REQUIRED = (
    "HOLDFAST_URL",
    "HOLDFAST_ADMIN_URL",
    "HOLDFAST_ADMIN_TOKEN",
    "HOLDFAST_REDIS_SOCKET",
    "HOLDFAST_MYSQL_SOCKETS",
    "HOLDFAST_MYSQL_USER",
)
HTTP_TIMEOUT_S = 10
CLIENT_TIMEOUT_S = 120
LOOPBACK = re.compile(r"^(127\.\d+\.\d+\.\d+|::1|localhost)$")


class StackError(Exception):
    """The stack cannot be used; the text says what to do about it."""


@dataclass(frozen=True)
class Stack:
    url: str
    admin_url: str
    admin_token: str
    redis_socket: str
    mysql_sockets: tuple
    mysql_user: str
    pids: dict = field(default_factory=dict)  # {"service": [pid], "redis": [pid], "mysql": [pid, ...]}
    directory: str = ""
    nodes: tuple = ()  # further services on the same servers, each a Stack of its own
    option: str = ""  # the --dir by which deploy/up and the load tools find it; empty for the default one

    def get(self, path):
        """A call of the public API: (status, body)."""
        return _call(urllib.request.Request(self.url + path))

    def buy(self, sku, buyer, key=None):
        """A purchase of one unit: (status, body)."""
        request = urllib.request.Request(self.url + "/v1/orders", method="POST")
        request.add_header("Content-Type", "application/json")
        if key:
            request.add_header("Idempotency-Key", key)
        request.data = json.dumps({"sku": sku, "buyer_id": buyer, "quantity": 1}).encode()
        return _call(request)

    def admin(self, method, path, body=None, within_s=HTTP_TIMEOUT_S, headers=()):
        """A call of the admin API: (status, body). The token travels in a header, never on a command line."""
        request = urllib.request.Request(self.admin_url + path, method=method, headers=dict(headers))
        request.add_header("Authorization", "Bearer " + self.admin_token)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        return _call(request, within_s)

    def put_item(self, sku, terms):
        """Creates the item, or gives one that exists these terms."""
        status, body = self.admin("PUT", "/v1/items/" + sku, terms)
        if status == 428:  # it exists, and has others
            status, body = self.admin("PUT", "/v1/items/" + sku, terms, headers={"If-Match": "*"})
        if status not in (200, 201):
            raise StackError(f"PUT of item {sku} was answered {status}: {body.strip()[:300]}")

    def patch_item(self, sku, changes):
        """Whether the change was taken, and a sentence if not."""
        try:
            status, body = self.admin("PATCH", "/v1/items/" + sku, changes)
        except StackError as error:
            return False, str(error)
        return status == 200, f"PATCH {changes} was answered {status}: {body.strip()[:200]}"

    def urls(self):
        """Of all nodes."""
        return [self.url, *(node.url for node in self.nodes)]

    def metrics(self):
        """The text of /metrics of all nodes; empty when one does not tell."""
        try:
            status, body = self.admin("GET", "/metrics")
        except StackError:
            return ""
        texts = [body if status == 200 else "", *(node.metrics() for node in self.nodes)]
        return "\n".join(texts) if all(texts) else ""

    def loops(self):
        """How many event loops the service has."""
        status, body = self.admin("GET", "/v1/status")
        if status != 200:
            raise StackError(f"GET /v1/status was answered {status}")
        return json.loads(body)["loops"]

    def counters(self):
        """{(name, strategy): value} of the aborts and retries; empty when the service does not tell."""
        return parse_counters(self.metrics())

    def mysql(self, socket, statements):
        """The rows of the statements' results, each a list of strings."""
        command = ["mariadb", "--no-defaults", "--batch", "--skip-column-names", "--quick",
                   f"--socket={socket}", f"--user={self.mysql_user}", "holdfast"]
        return [line.split("\t") for line in _client(command, statements, "MySQL at " + socket)]

    def redis(self, *words, commands=None):
        """The lines of one Redis command's reply, or of the replies to many commands, a line each."""
        return _client(["redis-cli", "-s", self.redis_socket, *words], commands, "Redis at " + self.redis_socket)


def _client(command, stdin, what):
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise StackError(f"{what} did not answer within {CLIENT_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise StackError(f"{what} could not be asked: {(done.stderr or done.stdout).strip()[:300]}")
    return done.stdout.splitlines()


# No proxy from the environment may come between: these are loopback addresses.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(request, within_s=HTTP_TIMEOUT_S):
    try:
        with _opener.open(request, timeout=within_s) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        raise StackError(f"{request.get_method()} {request.full_url} failed: {error}") from None


SERIES = re.compile(r'^(holdfast_\w+)(\{[^}]*\})?\s+([0-9.eE+-]+)$', re.M)
STATUS = re.compile(r'route="order_create".*status="(\d+)"')
COUNTER = re.compile(r'^holdfast_(aborts|retries)_total\{[^}]*strategy="(\w+)"[^}]*\}\s+([0-9.eE+]+)', re.M)


def parse_counters(metrics):
    counters = {}
    for name, strategy, value in COUNTER.findall(metrics):
        counters[name, strategy] = counters.get((name, strategy), 0) + int(float(value))
    return counters


def parse_metric(metrics, name):
    """The sum of a metric over its labels; None when it is not there."""
    values = [float(value) for found, _, value in SERIES.findall(metrics) if found == name]
    return sum(values) if values else None


def parse_answers(metrics):
    """{status: count} of the answers to purchases."""
    answers = {}
    for name, labels, value in SERIES.findall(metrics):
        status = STATUS.search(labels) if name == "holdfast_http_requests_total" else None
        if status:
            answers[int(status[1])] = answers.get(int(status[1]), 0) + int(float(value))
    return answers


def find_pids(settings):
    """Of the processes that serve, as far as the settings tell."""
    names = {"service": "HOLDFAST_PID", "redis": "HOLDFAST_REDIS_PID", "mysql": "HOLDFAST_MYSQL_PIDS"}
    return {group: [int(pid) for pid in settings.get(name, "").split()] for group, name in names.items()}


def read_env_file(path):
    """The NAME=VALUE lines of a file made to be sourced by a shell."""
    settings = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.isidentifier():
            settings[name] = " ".join(shlex.split(value))
    return settings


def find_settings(directory):
    """Of --dir if given, else of the environment, else of the default stack."""
    if directory is None and "HOLDFAST_URL" in os.environ:
        return dict(os.environ), "the environment"
    path = (Path(directory) if directory else DEFAULT_DIRECTORY) / "env"
    if not path.is_file():
        raise StackError(f"no stack: there is no {path}. Start one with: deploy/up{directory_option(directory, {})}")
    return read_env_file(path), str(path)


def directory_option(directory, settings):
    """What advice must repeat, so that it is about this stack: the --dir that was given, or that of the settings."""
    directory = directory or settings.get("HOLDFAST_DIR")
    if not directory or Path(directory).resolve() == DEFAULT_DIRECTORY:
        return ""
    return f" --dir {shlex.quote(str(directory))}"


def open_stack(directory=None):
    """The stack, known to answer; StackError otherwise."""
    try:
        needs.require(needs.STACK)
    except needs.NeedError as error:
        raise StackError(str(error)) from None
    settings, source = find_settings(directory)
    absent = [name for name in REQUIRED if not settings.get(name)]
    if absent:
        raise StackError(f"{source} does not set {', '.join(absent)}")
    stack = Stack(
        url=settings["HOLDFAST_URL"].rstrip("/"),
        admin_url=settings["HOLDFAST_ADMIN_URL"].rstrip("/"),
        admin_token=settings["HOLDFAST_ADMIN_TOKEN"],
        redis_socket=settings["HOLDFAST_REDIS_SOCKET"],
        mysql_sockets=tuple(settings["HOLDFAST_MYSQL_SOCKETS"].split()),
        mysql_user=settings["HOLDFAST_MYSQL_USER"],
        pids=find_pids(settings),
        directory=settings.get("HOLDFAST_DIR", ""),
        option=directory_option(directory, settings),
    )
    for url in (stack.url, stack.admin_url):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not LOOPBACK.match(parts.hostname or ""):
            raise StackError(f"{url} is not plain HTTP on loopback: a load test is only for a stack on this machine")
    require_answers(stack, source)
    return stack


def require_answers(stack, source):
    try:
        status, body = stack.get("/readyz")
    except StackError as error:
        raise StackError(f"the stack of {source} does not answer ({error}). Start it with: deploy/up{stack.option}") from None
    if status != 200:
        raise StackError(f"the stack of {source} is not ready ({status}: {body.strip()[:200]})")
    status, body = stack.admin("GET", "/v1/status")
    if status != 200:
        raise StackError(f"the admin API refuses the token of {source} ({status}: {body.strip()[:200]})")
    stack.redis("PING")
    for socket in stack.mysql_sockets:
        stack.mysql(socket, "SELECT 1;")
