"""Tests that only compare what functions return with plain values, so that they can run apart from the functions."""

from __future__ import annotations

import ast
import builtins

UNREADABLE_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python's parser raises on texts that are no Python."""
_PLAIN = (
    ast.Module,
    ast.Assert,
    ast.Assign,
    ast.AugAssign,
    ast.Expr,
    ast.For,
    ast.If,
    ast.Pass,
    ast.FunctionDef,
    ast.arguments,
    ast.arg,
    ast.Return,
    ast.Name,
    ast.expr_context,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.Compare,
    ast.cmpop,
    ast.BoolOp,
    ast.boolop,
    ast.UnaryOp,
    ast.unaryop,
    ast.BinOp,
    ast.operator,
    ast.Subscript,
    ast.Slice,
    ast.IfExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.Call,
    ast.keyword,
    ast.Starred,
    ast.JoinedStr,
    ast.FormattedValue,
)
_MODULE = "math"
"""The one module whose attributes plain tests may use."""
_IDENTITY = (ast.Is, ast.IsNot)


def functions_under_test(tests: str) -> frozenset[str]:
    """The functions that plain tests call; none where the tests are not plain.

    Tests are plain where plain values are all that passes: the program's names are only called, or handed to functions
    of the tests themselves, as ``check(candidate)`` is. No attribute is read but those of ``math``, no class is made,
    and nothing is compared by identity but with ``None``, ``True`` and ``False``.
    """
    try:
        tree = ast.parse(tests)
    except UNREADABLE_PYTHON:
        return frozenset()
    own = own_names(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    callable_names = _names_called(calls, own)
    for node in ast.walk(tree):
        if not _is_plain(node):
            return frozenset()
    functions: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not is_defined(node.id, own):
            if node not in callable_names or node.id[0].isupper():
                return frozenset()
            functions.add(node.id)
    return frozenset(functions)


def own_names(tree: ast.Module) -> set[str]:
    """What the tests define themselves."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def is_defined(name: str, own: set[str]) -> bool:
    """Whether a name is the tests' own or Python's, and so none of the program's."""
    return name in own or name == _MODULE or hasattr(builtins, name)


def _names_called(calls: list[ast.Call], own: set[str]) -> set[ast.AST]:
    """The places where a name is called, or handed to a function of the tests."""
    places: set[ast.AST] = set()
    for call in calls:
        places.add(call.func)
        if isinstance(call.func, ast.Name) and call.func.id in own:
            places.update(call.args)
    return places


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name == _MODULE and alias.asname is None for alias in node.names)
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == _MODULE
    if isinstance(node, ast.alias):
        return True
    if isinstance(node, ast.FunctionDef) and node.decorator_list:
        return False
    if isinstance(node, ast.Compare) and any(isinstance(op, _IDENTITY) for op in node.ops):
        return all(_is_singleton(side) for side in node.comparators)
    return isinstance(node, _PLAIN)


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))
