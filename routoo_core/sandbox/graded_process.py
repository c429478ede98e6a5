"""What runs in the sandbox: a program of a model, and its tests or probes. Python is given the file's own text.

Tests are run in one of two ways. *Together*: in the program's own process, after it. *Apart*: in a process of their
own, which calls the program's functions in another sandbox; only plain values pass between the two. So the program
sees what its functions are called with, and never what is expected of them.

*Probes* are expressions that are evaluated after a program, so that programs can be compared by their results.

Only the standard library is imported here, since nothing else need be there.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterator, KeysView, Mapping, ValuesView
from contextlib import redirect_stdout
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from numbers import Integral, Real
from types import CodeType, MappingProxyType, ModuleType
from typing import IO, Any

REPLY_LIMIT = 1 << 20
"""Characters of a call's result."""
_FORBIDDEN_EVENTS = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.kill",
    "ctypes.",
)
_FILE_BYTES = 16 << 20
_OPEN_FILES = 64
_SMALL_INTEGER = 1 << 53
_PROBE_FILE = "probe.py"
_MISUSE = (TypeError, AttributeError)
"""What a probe raises that does not fit the program, as one with too few arguments."""
_RAISED = "raised"
"""Begins the result of a probe that gives no value."""
_DIGITS = 9
"""Numbers that are not whole and agree in so many significant digits are equal."""
_NO_NAMES: Mapping[str, object] = MappingProxyType({})

_LARGEST_FLOAT = int(sys.float_info.max)
_LARGEST_EXPONENT = sys.float_info.max_10_exp
"""Decimals beyond it are no floats."""
_LONGEST_INTEGER = 5_000
"""Decimal digits of a whole number that are written out."""

Task = dict[str, Any]
"""What a process is to do, one JSON object in its first line."""


class NoPlainValue(TypeError):
    """A value that cannot pass between processes."""


_TELLS_NOTHING = (MemoryError, RecursionError, ImportError, OSError, NameError, NoPlainValue)
"""What a program raises that is broken or lacks something here: two programs that raise it are not alike."""


def run_together() -> None:
    """Run a program and then its tests; write the password if both finish."""
    task = json.loads(sys.stdin.readline())
    result = os.dup(1)
    _close_terminal()
    _limit(task)
    program = compile(task["code"], "answer.py", "exec")
    tests = compile(task["tests"], "tests.py", "exec")
    password = task.pop("password").encode()
    sys.addaudithook(_refuse)
    names = _run_module("answer", program)
    exec(tests, names)  # noqa: S102
    os.write(result, password)
    os._exit(0)


def serve_calls() -> None:
    """Run a program, then call its functions for tests that run elsewhere, until no more calls come."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    task = json.loads(requests.readline())
    _close_terminal()
    _limit(task)
    program = compile(task["code"], "answer.py", "exec")
    sys.addaudithook(_refuse)
    names = _run_module("answer", program)
    for line in requests:
        reply = _call(names, json.loads(line))
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def judge_calls() -> None:
    """Run tests whose functions are those of a program elsewhere; write the password if the tests finish."""
    task = json.loads(sys.stdin.readline())
    requests = os.fdopen(task["requests"], "w", encoding="utf-8")
    replies = os.fdopen(task["replies"], encoding="utf-8")
    _limit(task)
    names: dict[str, Any] = {"math": math}
    for name in task["functions"]:
        names[name] = _remote_function(name, requests, replies)
    _run_module("tests", compile(task["tests"], "tests.py", "exec"), names)
    os.write(1, task["password"].encode())
    os._exit(0)


def run_probes() -> None:
    """Run a program, then evaluate its probes; write the SHA-256 of their results.

    Nothing is written where no probe gives a value, or where one tells nothing of the program.
    """
    task = json.loads(sys.stdin.readline())
    result = os.dup(1)
    _close_terminal()
    _limit(task)
    program = compile(task["code"], "answer.py", "exec")
    probes = [compile(probe, _PROBE_FILE, "eval") for probe in task["probes"]]
    sys.addaudithook(_refuse)
    names = _run_module("answer", program)
    results = [_probe_result(probe, names) for probe in probes]
    if all(result[0] == _RAISED for result in results):
        return
    os.write(result, sha256(json.dumps(results).encode()).hexdigest().encode())
    os._exit(0)


def encode(value: Any) -> object:
    """A plain value as JSON.

    Raises:
        NoPlainValue: It is none.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may say something else of itself
    if isinstance(value, Integral):
        number = int(value)
        return number if abs(number) < _SMALL_INTEGER else ["integer", hex(number)]
    if isinstance(value, Decimal | Fraction):
        return [type(value).__name__.lower(), str(value)]
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, complex):
        return ["complex", [value.real, value.imag]]
    if isinstance(value, bytes | bytearray):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, dict):
        return ["dict", [[encode(key), encode(item)] for key, item in value.items()]]
    if isinstance(value, range):
        return ["range", [value.start, value.stop, value.step]]
    if isinstance(value, KeysView):
        return ["keys", [encode(key) for key in value]]
    if isinstance(value, ValuesView):
        return ["values", [encode(item) for item in value]]
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return encode(value.item())
    for name, kind in _COLLECTIONS.items():
        if isinstance(value, kind):
            return [name, [encode(item) for item in value]]
    raise NoPlainValue(f"{type(value).__name__} is no plain value")


def decode(value: Any) -> Any:
    """The value that :func:`encode` wrote.

    Raises:
        LookupError: It was written by something else.
    """
    if not isinstance(value, list):
        return value
    name, content = value
    if name in _COLLECTIONS:
        items = [decode(item) for item in content]
        return iter(items) if name == "iterator" else _COLLECTIONS[name](items)
    if name == "dict":
        return {decode(key): decode(item) for key, item in content}
    return _DECODERS[name](content)


_COLLECTIONS: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "iterator": Iterator,
}
_DECODERS: dict[str, Callable[[Any], object]] = {
    "integer": lambda text: int(text, 16),
    "decimal": Decimal,
    "fraction": Fraction,
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
    "range": lambda parts: range(*parts),
    "keys": lambda keys: dict.fromkeys(decode(key) for key in keys).keys(),
    "values": lambda values: dict(enumerate(decode(item) for item in values)).values(),
}


def _run_module(
    name: str, code: CodeType, names: Mapping[str, object] = _NO_NAMES
) -> dict[str, Any]:
    """Run code as a module that Python finds by its name, as dataclasses need; its names are the result.

    Args:
        name: The module's.
        code: What it holds.
        names: What it has beforehand.
    """
    module = ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module
    exec(code, module.__dict__)  # noqa: S102
    return module.__dict__


def _call(names: dict[str, Any], request: Task) -> Task:
    """Call a function of the program: its result and its arguments as they are then, or that it failed."""
    arguments = decode(request["arguments"])
    keywords = decode(request["keywords"])
    try:
        value = encode(names[request["function"]](*arguments, **keywords))
        after = [encode(argument) for argument in arguments]
    except Exception:  # noqa: BLE001
        return {"failed": True}
    return {"failed": False, "value": value, "arguments": after}


def _remote_function(name: str, requests: IO[str], replies: IO[str]) -> Callable[..., Any]:
    """A function of the program, called where it runs."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        request = {
            "function": name,
            "arguments": encode(list(arguments)),
            "keywords": encode(keywords),
        }
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        line = replies.readline(REPLY_LIMIT)
        if not line.endswith("\n"):
            raise EOFError("the program has ended, or its result is too long")
        reply = json.loads(line)
        if reply["failed"]:
            raise RuntimeError(f"{name} failed, or returned what is no plain value")
        for argument, after in zip(arguments, reply["arguments"], strict=True):
            _update(argument, decode(after))
        return decode(reply["value"])

    return call


def _update(argument: Any, after: Any) -> None:
    """Change a list, set or dictionary as the call has changed it."""
    if isinstance(argument, list) and isinstance(after, list):
        argument[:] = after
    elif isinstance(argument, set | dict) and type(argument) is type(after):
        argument.clear()
        argument.update(after)


def _probe_result(probe: CodeType, names: dict[str, Any]) -> list[object]:
    """What a probe gives and prints, in a form that is the same for equal results.

    Raises:
        Exception: The program is broken or lacks something, the probe does not fit it, or its result is no plain value.
    """
    printed = io.StringIO()
    with redirect_stdout(printed):
        try:
            encoded = encode(eval(probe, names))  # noqa: S307 (a generator runs while it is read)
        except (Exception, SystemExit) as error:
            if isinstance(error, _TELLS_NOTHING):
                raise
            if isinstance(error, _MISUSE) and _is_raised_by_probe(error):
                raise
            return [_RAISED, type(error).__name__, printed.getvalue()]
    return ["value", canonical(encoded), printed.getvalue()]


def _is_raised_by_probe(error: BaseException) -> bool:
    """Whether an error comes from the probe's own words, and not from within the program."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == _PROBE_FILE


def canonical(encoded: Any) -> object:
    """What :func:`encode` wrote, in a form that is the same for values that Python calls equal.

    NaN equals itself here, and numbers that are not whole are rounded to nine significant digits.
    """
    if encoded is None or isinstance(encoded, str):
        return encoded
    if not isinstance(encoded, list):
        return ["number", _canonical_number(encoded)]
    name, content = encoded
    if name in ("integer", "decimal", "fraction"):
        return ["number", _canonical_number(decode(encoded))]
    if name == "complex":
        return [name, [_canonical_number(part) for part in content]]
    if name == "dict":
        pairs = [[canonical(key), canonical(value)] for key, value in content]
        return [name, sorted(pairs, key=json.dumps)]
    if name in ("set", "frozenset", "keys"):
        return ["set", sorted((canonical(item) for item in content), key=json.dumps)]
    if name in ("bytes", "range"):
        return encoded
    return [name, [canonical(item) for item in content]]


def _canonical_number(number: Any) -> str:
    """A number as text: the same for 1, 1.0 and ``True``."""
    if isinstance(number, int):
        return hex(number)
    if isinstance(number, Fraction) and number.denominator == 1:
        return hex(number.numerator)
    if isinstance(number, Fraction) and abs(number) > _LARGEST_FLOAT:
        number = Decimal(number.numerator) / number.denominator
    if isinstance(number, Decimal) and number.is_finite() and number:
        if number == number.to_integral_value() and number.adjusted() <= _LONGEST_INTEGER:
            return hex(int(number))
        if abs(number.adjusted()) >= _LARGEST_EXPONENT:
            return f"{number:.{_DIGITS - 1}e}"
    value = float(number)
    if not math.isfinite(value):
        return str(value)
    rounded = value if value.is_integer() else float(f"{value:.{_DIGITS}g}")
    return hex(int(rounded)) if rounded.is_integer() else repr(rounded)


def _close_terminal() -> None:
    """Nothing is read or printed by the program."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _limit(task: Task) -> None:
    limits = {
        resource.RLIMIT_CPU: task["timeout_s"],
        resource.RLIMIT_AS: task["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if task["processes"]:
        limits[resource.RLIMIT_NPROC] = task["processes"]
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _refuse(event: str, _arguments: tuple[object, ...]) -> None:
    if event.startswith(_FORBIDDEN_EVENTS):
        raise PermissionError(event + " is not allowed in an answer")
