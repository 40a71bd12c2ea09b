"""A `weft serve` process as the demo uses it: on a free port, with its log in a file, ended when it is left."""

import http.client
import json
import signal
import socket
import subprocess
import time

USUAL_PORT = 30000
START_SECONDS = 120
STOP_SECONDS = 20
LOG_TAIL_LINES = 25


class ServerFailed(Exception):
    """The server ended, or did not answer in time; the text has the end of its log."""


def free_port():
    """The usual port where nothing has it, else any."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return listener.getsockname()[1]
    raise ServerFailed("there is no free port on 127.0.0.1")


def log_tail(log):
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(["the last lines of " + str(log) + ":"] + ["  " + line for line in lines])


class Server:
    """Owns the process. As a context manager it waits for /health on entry and ends the process on exit, unless
    `detach` was called. `adapters` is a list of (name, folder)."""

    def __init__(self, binary, model, adapters, log, flags=()):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self.command = [str(binary), "serve", "--model-path", str(model), "--host", "127.0.0.1"]
        self.command += ["--port", str(self.port), *flags]
        if adapters:
            self.command += ["--lora-paths", *(f"{name}={folder}" for name, folder in adapters)]
        self.process = None
        self._kept = False

    def __enter__(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            # A session of its own: Ctrl-C in the terminal reaches the demo, which then ends the server in order.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_for_health()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        if not self._kept:
            self.stop()

    def detach(self):
        """Leaves the process running when the demo ends."""
        self._kept = True

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_for_health(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"the server ended with status {self.process.returncode}; {log_tail(self.log)}")
            if self._healthy():
                return
            time.sleep(0.05)
        raise ServerFailed(f"the server did not answer /health within {START_SECONDS} s; {log_tail(self.log)}")

    def _healthy(self):
        try:
            return self._get("/health")[0] == 200
        except OSError:
            return False

    def base_model(self):
        """The name under which the server offers the base model."""
        status, body = self._get("/v1/models")
        if status != 200:
            raise ServerFailed(f"GET /v1/models answered {status}: {body[:200]}")
        return next(card["id"] for card in json.loads(body)["data"] if not card.get("parent"))

    def _get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
