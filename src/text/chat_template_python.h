#pragma once

namespace weft::text {

/// The Python side of ChatTemplate: defines compile_template(source, tool_use_source, variables)
/// and render(template, messages, options), which take and return bytes. The first byte returned is
/// '=' before a result, '!' before a message for the one who wrote the template or the request, and
/// '?' before a message about this machine's Python. What templates may see and do is what
/// transformers 5 lets them (utils/chat_template_utils.py).
inline constexpr const char kChatTemplatePython[] = R"python(
import datetime
import json
import sys

# Where Debian's python3-jinja2 is. An interpreter that PATH names first (a virtual environment,
# pyenv) makes this one look elsewhere; what is there still comes first.
sys.path.append("/usr/lib/python3/dist-packages")

_missing = None
try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except Exception as error:
    _missing = "%s: %s" % (type(error).__name__, error)

_REASONING = ("reasoning_content", "thinking", "reasoning")


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def _strftime_now(format):
    return datetime.datetime.now().strftime(format)


def _raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class _Dict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


if _missing is None:
    class _Generation(jinja2.ext.Extension):
        """{% generation %} marks what the assistant wrote, for training; serving only renders it."""
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            call = self.call_method("_render")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _render(self, caller):
            return caller()

    class _Namespace(jinja2.utils.Namespace):
        """A namespace without underscore names, which would reach Python's internals."""
        def __init__(*args, **kwargs):
            self, args = args[0], args[1:]
            values = dict(*args, **kwargs)
            for name in values:
                _Namespace._check(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name, value):
            _Namespace._check(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

        @staticmethod
        def _check(name):
            if isinstance(name, str) and name.startswith("_"):
                raise jinja2.exceptions.SecurityError("a namespace cannot hold %r" % name)


def _environment():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    return environment


def _say(error):
    message = str(error) or type(error).__name__
    if isinstance(error, jinja2.exceptions.TemplateSyntaxError):
        return "line %s: %s" % (error.lineno, message)
    if isinstance(error, jinja2.exceptions.TemplateError):
        return message
    return "%s: %s" % (type(error).__name__, message)


def _bytes(kind, text):
    return (kind + text).encode("utf-8", "replace")


def compile_template(source, tool_use_source, variables):
    """Returns a template object, or bytes that say why not."""
    if _missing is not None:
        return _bytes("?", _missing)
    try:
        compiled = _environment().from_string(source.decode())
        with_tools = compiled
        if tool_use_source:
            with_tools = _environment().from_string(tool_use_source.decode())
        return (compiled, with_tools, json.loads(variables))
    except BaseException as error:
        return _bytes("!", _say(error))


def _clean(messages):
    """As transformers: members that are null are left out, and reasoning is known by every name."""
    if not isinstance(messages, list) or not messages:
        raise ValueError("the messages should be a list with at least one message")
    cleaned = []
    for message in messages:
        if not isinstance(message, dict):
            raise ValueError("each message should be an object")
        message = {key: value for key, value in message.items() if value is not None}
        reasoning = next((message[key] for key in _REASONING if key in message), None)
        if reasoning is not None:
            message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
        cleaned.append(message)
    return cleaned


def render(template, messages, tools, documents, extra, add_generation_prompt):
    """Returns bytes."""
    try:
        compiled, with_tools, variables = template
        tools = json.loads(tools) if tools else None
        documents = json.loads(documents) if documents else None
        extra = json.loads(extra) if extra else {}
        if not isinstance(extra, dict):
            raise ValueError("the template's further variables should be an object")
        fixed = {"messages": _clean(json.loads(messages)), "tools": tools, "documents": documents,
                 "add_generation_prompt": bool(add_generation_prompt)}
        text = (with_tools if tools is not None else compiled).render({**variables, **extra, **fixed})
        return b"=" + text.encode("utf-8")
    except UnicodeEncodeError:
        return b"!the messages hold a lone surrogate, which is not a character"
    except BaseException as error:
        return _bytes("!", _say(error))
)python";

}  // namespace weft::text
