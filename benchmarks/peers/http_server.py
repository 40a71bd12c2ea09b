"""A server process under measurement, and what it and its client take."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time

START_SECONDS = 60
STOP_SECONDS = 20


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class HttpServer:
    """Owns the process. As a context manager it waits for /health on entry and ends the process on exit. `command` gets
    --host and --port behind it; both servers take these."""

    def __init__(self, command, log):
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [str(part) for part in command] + ["--host", "127.0.0.1", "--port", str(self.port)]
        self._log = log
        self._process = None

    def __enter__(self):
        with self._log.open("w") as log:
            print("$", *self._command, file=log, flush=True)
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self._request("GET", "/health")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        self.__exit__()
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-25:])
        raise RuntimeError(f"the server did not come up within {START_SECONDS} s; the end of {self._log}:\n{tail}")

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def complete(self, prompt, tokens, more):
        """The text that follows, greedy. `more` chooses the adapter, in this server's way."""
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0.0, "ignore_eos": True, **more}
        status, answer = self._request("POST", "/v1/completions", json.dumps(body))
        if status != 200:
            raise RuntimeError(f"{self.url}/v1/completions answered {status}: {answer[:300]}")
        return json.loads(answer)["choices"][0]["text"]

    def cpu_seconds(self):
        """Of all threads, since the start."""
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
