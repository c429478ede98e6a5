"""Probes: expressions that are evaluated after a program, so that two programs can be compared by their results.

::

    first = results_digest("def double(n): return 2 * n", ("double(2)",))
    second = results_digest("def double(n): return n + n", ("double(2)",))
    assert first == second
"""

from __future__ import annotations

import ast
import builtins
import logging
import re
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator

from routoo_core.sandbox.graded_process import Task, run_probes
from routoo_core.sandbox.namespaces import check_sandbox
from routoo_core.sandbox.plain_tests import UNREADABLE_PYTHON, functions_under_test, own_names
from routoo_core.sandbox.processes import PROCESSES, output_of, sandbox_place

MOST_PROBES = 64
"""Of one call."""
LONGEST_PROBE = 1000
"""Characters."""
_LOGGER = logging.getLogger(__name__)
_WARN_EVERY_S = 60.0
_last_warning = float("-inf")
_DIGEST = re.compile(rb"[0-9a-f]{64}")


def results_digest(
    code: str, probes: tuple[str, ...], timeout_s: int = 10, memory_mb: int = 1024
) -> str | None:
    """A SHA-256 of what probes give after a program, equal for equal results; run in the sandbox.

    A result is the value of a probe and what it prints, or the type of what it raises, and what it printed before.

    Args:
        code: What a model wrote.
        probes: Python expressions that see its names.
        timeout_s: Seconds for all of them, of computing and by the clock.
        memory_mb: Address space of the process.

    Returns:
        ``None`` where the code is no Python, fails by itself, hangs, lacks a name that a probe uses, or where a
        probe gives an object that is no plain value. ``None``, too, where the machine cannot start a process now.

    Raises:
        ConfigurationError: No sandbox can be made here.
    """
    check_sandbox()
    task: Task = {
        "timeout_s": timeout_s,
        "memory_mb": memory_mb,
        "processes": PROCESSES,
        "code": code,
        "probes": list(probes),
    }
    try:
        with sandbox_place():
            output = output_of(run_probes, task, time.monotonic() + timeout_s, unsafe=False)
    except OSError as error:
        _note_failure(error)
        return None
    return output.decode() if _DIGEST.fullmatch(output) else None


def _note_failure(error: OSError) -> None:
    """Say that no process can be started, at most once a minute: the call whose reply it was is paid, and goes on."""
    global _last_warning
    now = time.monotonic()
    if now - _last_warning >= _WARN_EVERY_S:
        _last_warning = now
        _LOGGER.warning("code of a reply could not be run, which then states nothing: %s", error)


def is_probe(text: str) -> bool:
    """Whether a text is one Python expression that can be evaluated."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "probe", "eval")
    except UNREADABLE_PYTHON:
        return False
    return True


def probes_of_tests(tests: str) -> tuple[str, ...]:
    """The calls that plain tests look at: ``assert slug("A b") == "a-b"`` looks at ``slug("A b")``.

    Calls with names of the tests' own are left out; the parameter of ``check(candidate)`` counts as the function that
    is handed to it, where that is always the same. There is none where the tests are not plain; see
    :func:`functions_under_test`.

    Args:
        tests: Python statements that raise where a program is wrong.
    """
    functions = functions_under_test(tests)
    if not functions:
        return ()
    tree = ast.parse(tests)
    parameters = _Parameters(tree, functions)
    own = own_names(tree)
    probes: dict[str, None] = {}
    for assertion in _assertions(tree, parameters, {}):
        for node in ast.walk(assertion):
            if _is_probe_call(node, functions, own):
                probes[ast.unparse(node)] = None
    return tuple(probes)


class _Renaming(ast.NodeTransformer):
    """Puts the names of functions in the place of parameters that stand for them.

    Args:
        function_of: Parameter → function.
    """

    def __init__(self, function_of: dict[str, str]) -> None:
        self._function_of = function_of

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """The name of the function where a parameter stands for one."""
        return ast.Name(self._function_of.get(node.id, node.id), node.ctx)


class _Parameters:
    """Which functions of the program are handed to the parameters of the tests' own functions.

    Args:
        tree: The tests.
        functions: Those of the program.
    """

    def __init__(self, tree: ast.Module, functions: frozenset[str]) -> None:
        self._names: dict[str, list[str]] = {}
        self._handed: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                self._names[node.name] = [argument.arg for argument in node.args.args]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                self._note_call(node.func.id, node.args, functions)

    def _note_call(self, owner: str, arguments: list[ast.expr], functions: frozenset[str]) -> None:
        for parameter, argument in zip(self._names.get(owner, ()), arguments, strict=False):
            if isinstance(argument, ast.Name) and argument.id in functions:
                self._handed[owner, parameter].add(argument.id)

    def within(self, function: ast.FunctionDef, outside: dict[str, str]) -> dict[str, str]:
        """Parameter → the only function that it stands for, within a function of the tests.

        Args:
            function: That function.
            outside: The same, around it.
        """
        function_of = dict(outside)
        for argument in function.args.args:
            function_of.pop(argument.arg, None)
            handed = self._handed.get((function.name, argument.arg), set())
            if len(handed) == 1:
                function_of[argument.arg] = next(iter(handed))
        return function_of


def _assertions(
    node: ast.AST, parameters: _Parameters, function_of: dict[str, str]
) -> Iterator[ast.AST]:
    """What is asserted within a node, with functions in the place of the parameters that stand for them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Assert):
            yield _Renaming(function_of).visit(child.test)
        elif isinstance(child, ast.FunctionDef):
            yield from _assertions(child, parameters, parameters.within(child, function_of))
        else:
            yield from _assertions(child, parameters, function_of)


def _is_probe_call(node: ast.AST, functions: frozenset[str], own: set[str]) -> bool:
    """Whether a node calls a function of the program with nothing of the tests' own."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    if node.func.id not in functions:
        return False
    for name in [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]:
        if name in own or not (name in functions or hasattr(builtins, name)):
            return False
    return True
