"""Processes, ports and files that are gone at the end, and what processes cost."""

import contextlib
import http.client
import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """What keeps a measurement from being made."""


class Process:
    def __init__(self, name, command, log, env):
        self.name, self.log = name, log
        # What is written to standard output, audit lines above all, is written as in production; only
        # the disk is left out.
        with open(log, "wb") as errors:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                env={**os.environ, "RUST_BACKTRACE": "0", **env},
            )

    def is_gone(self):
        return self.child.poll() is not None

    def cpu_seconds(self):
        """User and system time until now."""
        stat = Path(f"/proc/{self.child.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self):
        """Resident bytes."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes.split()[1]) * 1024

    def stop(self):
        if not self.is_gone():
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()


class Lab:
    """Use it as a context manager."""

    def __init__(self, programs):
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="qtb-bench-"))
        self.processes = []
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A crowd needs a thousand connections on both sides.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for proxy in ("http_proxy", "HTTP_PROXY"):
            os.environ.pop(proxy, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)

    def stop(self, *some):
        for process in some or self.processes[::-1]:
            process.stop()
            self.processes.remove(process)

    @contextlib.contextmanager
    def alone(self):
        """Stops afterwards whatever was started within."""
        before = list(self.processes)
        try:
            yield
        finally:
            for process in self.processes[::-1]:
                if process not in before:
                    self.stop(process)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def port(self):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return one.getsockname()[1]

    def start(self, name, *command, port, path="/healthz", env=None, patience=30):
        """Starts a program, and waits until it answers at all."""
        process = self.launch(name, *command, env=env)
        until = time.monotonic() + patience
        while time.monotonic() < until and not process.is_gone():
            with contextlib.suppress(OSError):
                ask(port, "GET", path)
                return process
            time.sleep(0.02)
        self.stop(process)
        raise Failed(f"{name} does not answer:\n{process.log.read_text()[:2000]}")

    def launch(self, name, *command, env=None):
        process = Process(name, command, self.folder / f"{name}.log", env or {})
        self.processes.append(process)
        return process


def ask(port, method, path, headers=None, body=None, timeout=120):
    """Status and bytes of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask_json(*args, **kwargs):
    status, body = ask(*args, **kwargs)
    if status not in (200, 201):
        raise Failed(f"{args[1]} {args[2]}: {status} {body[:500]!r}")
    return json.loads(body)
