"""Peers: what others run for the same job, each started on private ports and sockets and stopped again.

nginx-lua: nginx with ngx_lua (loadtest/peers/nginx-lua), a worker for each core, and a Redis of its own with the same
durability as the stack's. Debian's packages; they are unpacked, not installed, under build-peers, because Debian's
ngx_lua wants another libluajit than the one that may be installed, and because no daemon is to be set up.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import machine
from .stack import ROOT

PACKAGES = ("nginx", "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "lua-resty-core", "lua-resty-lrucache",
            "libluajit2-5.1-2", "lua-cjson", "libpcre3")
SOURCES = ROOT / "loadtest" / "peers" / "nginx-lua"
UNPACKED = ROOT / "build-peers"
READY_WITHIN_S = 20
STOP_WITHIN_S = 10
SOCKET_DIRECTORY_MAX = 70

REDIS_CONFIG = """port 0
unixsocket "{directory}/redis.sock"
daemonize no
dir "{directory}"
save ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
"""


class PeerError(Exception):
    """The peer cannot be had; the text says why."""


def install():
    """Downloads and unpacks the packages; apt checks them."""
    with tempfile.TemporaryDirectory(prefix="holdfast-peers-") as directory:
        os.chmod(directory, 0o755)
        done = subprocess.run(["apt-get", "-qq", "download", *PACKAGES], cwd=directory, capture_output=True, text=True)
        if done.returncode != 0:
            raise PeerError("the packages could not be downloaded (apt-get update first?): " + done.stderr.strip()[-500:])
        for package in sorted(Path(directory).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(UNPACKED)], check=True)


def find_library_directory(root):
    found = sorted(root.glob("usr/lib/*/libluajit-5.1.so.2"))
    return found[0].parent if found else None


class NginxLua:
    """A context: nginx + ngx_lua + Redis, serving at .url."""

    name = "nginx_lua"

    def __init__(self, beside="", option=""):
        """Its files lie in `beside`, for the same disk as the stack's; elsewhere if a socket's path gets too long.

        `option`: the stack's --dir, for advice.
        """
        self.parent = beside if beside and len(beside) <= SOCKET_DIRECTORY_MAX else "/var/tmp"
        self.root = UNPACKED
        self.libraries = find_library_directory(self.root)
        if self.libraries is None or not (self.root / "usr/sbin/nginx").is_file():
            raise PeerError(f"nginx with ngx_lua is not there; loadtest/compare{option} --install-peers gets it")
        self.environment = os.environ | {"LD_LIBRARY_PATH": str(self.libraries)}
        self.started = []

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="holdfast-peer-", dir=self.parent))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self):
        (self.directory / "redis.conf").write_text(REDIS_CONFIG.format(directory=self.directory))
        port = free_port()
        (self.directory / "nginx.conf").write_text(self.configuration(port))
        self.url = f"http://127.0.0.1:{port}"
        self.redis = self._run("redis", ["redis-server", str(self.directory / "redis.conf")])
        self._wait("redis", lambda: self.ask("PING") == ["PONG"])
        self.nginx = self._run("nginx", [str(self.root / "usr/sbin/nginx"), "-p", str(self.directory),
                                         "-e", str(self.directory / "error.log"),
                                         "-c", str(self.directory / "nginx.conf")])
        self._wait("nginx", lambda: answers(self.url + "/healthz"))

    def configuration(self, port):
        words = {"DIR": self.directory, "PORT": port, "WORKERS": os.cpu_count(), "SCRIPTS": SOURCES, "MODULES": self.root / "usr/lib/nginx/modules",
                 "LUA": self.root / "usr/share/lua/5.1", "CLUA": self.libraries / "lua/5.1"}
        text = (SOURCES / "nginx.conf.in").read_text()
        for name, value in words.items():
            text = text.replace(f"@{name}@", str(value))
        # Workers would give up root for an account that cannot reach the private directory.
        return ("user root;\n" if os.geteuid() == 0 else "") + text

    def _run(self, name, command):
        with open(self.directory / f"{name}.log", "w") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True, env=self.environment)
        self.started.append(process)
        return process

    def _wait(self, name, ready):
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready():
            if self.started[-1].poll() is not None or time.monotonic() >= deadline:
                log = (self.directory / f"{name}.log").read_text()[-500:]
                raise PeerError(f"{name} of the peer did not start: {log.strip()}")
            time.sleep(0.05)

    def ask(self, *words):
        done = subprocess.run(["redis-cli", "-s", str(self.directory / "redis.sock"), *words], capture_output=True,
                              text=True, timeout=30)
        return done.stdout.splitlines()

    def processes(self):
        """{"service": [pid, ...], "redis": [pid]}: nginx' master and its workers serve."""
        return {"service": [self.nginx.pid, *machine.children(self.nginx.pid)], "redis": [self.redis.pid]}

    def version(self):
        return machine.ask_version([str(self.root / "usr/sbin/nginx"), "-v"], self.environment)

    def put_item(self, sku, total):
        self.ask("SET", "stock:" + sku, str(total))

    def audit(self, sku, total, told_201, unheard):
        """The same questions as to Holdfast, as far as they can be asked of counters."""
        left = int((self.ask("GET", "stock:" + sku) or ["0"])[0])
        sold = int((self.ask("HLEN", "orders:" + sku) or ["0"])[0])
        return examine(total, left, sold, told_201, unheard)


def examine(total, left, sold, told_201, unheard):
    """Pure."""
    return {"oversold": max(0, sold - total), "lost": max(0, told_201 - sold),
            "duplicated": max(0, sold - told_201 - unheard), "drift": abs(total - left - sold)}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url):
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as response:
            return response.status == 200
    except (OSError, urllib.error.URLError):
        return False
