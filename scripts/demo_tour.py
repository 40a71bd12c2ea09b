"""What scripts/demo shows once everything is built: answers side by side, a load, what to try next."""

import argparse
import os
import pathlib
import signal
import sys
import time

import demo_client
import demo_load
from demo_server import Server, ServerFailed

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUESTION = "How do I make coffee?"  # None of the questions in demo/training.
MAX_TOKENS = 80
# Small, so that the server is up at once: the pool is made present when it starts.
SERVER_FLAGS = ("--served-model-name", "smollm2", "--kv-memory", "256MiB", "--lora-host-memory", "64MiB")


def shipped_adapters():
    """(name, folder) of every trained adapter in demo/adapters."""
    found = sorted(path.parent for path in (ROOT / "demo/adapters").glob("*/adapter_config.json"))
    return [(folder.name, folder) for folder in found]


def ask(server, names):
    """Asks the base model and every adapter. True when all answered."""
    models = [server.base_model(), *names]
    print(f'\ndemo: "{QUESTION}", asked of {len(models)} models of one server at once\n', flush=True)
    answers = demo_client.ask_all(server.url, models, QUESTION, MAX_TOKENS, sys.stdout)
    for answer in answers:
        if answer.failed:
            print(f"demo: {answer.title}: {answer.status}; the server's log is {server.log}", file=sys.stderr)
    return not any(answer.failed for answer in answers)


def next_steps(url, name):
    return f"""Try next, against {url}:

  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{name}", "stream": true, "messages": [{{"role": "user", "content": "Who are you?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  reply = client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": "Who are you?"}}])
  print(reply.choices[0].message.content)

  curl {url}/v1/load_lora_adapter -H 'Content-Type: application/json' \\
    -d '{{"lora_name": "second", "lora_path": "{ROOT / "demo/adapters" / name}"}}'
  curl {url}/v1/unload_lora_adapter -H 'Content-Type: application/json' -d '{{"lora_name": "second"}}'

  curl {url}/metrics"""


def start_command(server):
    """The server's command as a user would type it, on the usual port."""
    command = list(server.command)
    command[command.index("--port") + 1] = "30000"
    return " ".join(command)


def farewell(server, name, keep):
    if keep:
        server.detach()
        print(next_steps(server.url, name))
        print(f"\ndemo: the server stays up; its log is {server.log}; stop it with: kill {server.process.pid}")
    else:
        print(next_steps("http://127.0.0.1:30000", name))
        print(f"\ndemo: the server stops now; start it again with scripts/demo --keep, or:\n\n  {start_command(server)}")


def tour(arguments, cache):
    adapters = shipped_adapters()
    if not adapters:
        raise ServerFailed(f"there is no adapter in {ROOT / 'demo/adapters'}: is this a complete checkout?")
    names = [name for name, _ in adapters]
    started = time.monotonic()
    print(f"demo: starting the server with {len(names)} adapters: {', '.join(names)}", flush=True)
    with Server(arguments.binary, arguments.model, adapters, cache / "demo-server.log", SERVER_FLAGS) as server:
        print(f"demo: {server.url} answers after {time.monotonic() - started:.1f} s")
        all_answered = ask(server, names)
        demo_load.compare(arguments.binary, arguments.model, cache)
        farewell(server, names[-1], arguments.keep)
    return 0 if all_answered else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    arguments = parser.parse_args()
    cache = pathlib.Path(os.environ.get("WEFT_CACHE") or pathlib.Path.home() / ".cache/weft")
    cache.mkdir(parents=True, exist_ok=True)
    # Ended from outside, the demo ends its servers just as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return tour(arguments, cache)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the servers are stopped", file=sys.stderr)
        return 130
    except (ServerFailed, demo_load.LoadFailed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
