"""Strings of a torch.export program, each held to the little that it needs to say.

torch writes names into Python source, hands expressions to `sympy.sympify`, which evaluates them, and walks dotted
names by `getattr`. What comes out of here is none of the file's text but ours, written anew from what was understood.
"""

import ast
import json
import keyword
import re
from typing import Any

import torch

from core.network.limits import MAX_NAME
from modelpress.problem import ModelError

MAX_EXPRESSION = 1_000  # characters
MAX_INTEGER = 2**40  # in an expression
MAX_SYMBOL = 10_000  # torch counts up to a symbol's number
MAX_POWER = 4
MAX_TREE_DEPTH = 8

_FUNCTIONS = """
    Add Mul Max Min FloorDiv Mod PythonMod CleanDiv CeilDiv ModularIndexing CeilToInt FloorToInt TruncToInt RoundToInt
    ToFloat TruncToFloat IntTrueDiv FloatTrueDiv Identity
    Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan And Or Not
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
POWERS = ("Pow", "PowByNatural")
ASSUMPTIONS = frozenset(("positive", "nonnegative", "integer", "real", "nonzero"))
SYMBOL = re.compile(r"(?:s|u|zf|zuf)(\d{1,6})")
PLAIN = re.compile(r"[A-Za-z0-9_ ,.>+-]{0,200}")
TAKEN = frozenset(dir(torch.fx.GraphModule)) | {"graph", "training"}


def check_name(text: str) -> str:
    """A node's name: it becomes a variable of Python source."""
    if len(text) <= MAX_NAME and text.isascii() and text.isidentifier() and not keyword.iskeyword(text):
        return text
    raise _refused("name", text, "is not an identifier")


def check_path(text: str) -> str:
    """A parameter's dotted name: it is walked by `getattr` from a module."""
    parts = text.split(".")
    if len(text) <= MAX_NAME and all(re.fullmatch(r"(?!__)[A-Za-z0-9_]+", part) for part in parts):
        if TAKEN.isdisjoint(parts):
            return text
        raise _refused("parameter", text, "has the name of something that every module has")
    raise _refused("parameter", text, "is not made of identifiers")


def check_plain(text: str) -> str:
    """An operator's argument: `same`, `nearest`, `bij,bjk->bik`."""
    if PLAIN.fullmatch(text):
        return text
    raise _refused("argument", text, "is neither the name of a mode nor an equation")


def check_symbol(text: str) -> str:
    """The name of a free size, such as `s77`."""
    if (found := SYMBOL.fullmatch(text)) and int(found[1]) <= MAX_SYMBOL:
        return text
    raise _refused("symbol", text, "is not a letter and a number")


def check_expression(text: str) -> str:
    """Arithmetic on free sizes, as sympy's `srepr` writes it: `Mul(Integer(8), Symbol('s77', positive=True))`."""
    if len(text) > MAX_EXPRESSION:
        raise _refused("expression", text, f"is longer than {MAX_EXPRESSION:,} characters")
    try:
        tree = ast.parse(text, mode="eval").body
        if _is_arithmetic(tree):
            return ast.unparse(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    raise _refused("expression", text, "is no arithmetic on sizes")


def check_tree(text: str) -> str:
    """How arguments or results nest: tuples, lists and dictionaries alone."""
    try:
        version, tree = json.loads(text)
        return json.dumps([1, _tree(tree, 0)]) if version == 1 else _no_tree(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _no_tree(text)


def _is_arithmetic(tree: ast.expr) -> bool:
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return False
    name, arguments = tree.func.id, tree.args
    if name == "Symbol":
        return len(arguments) == 1 and _is_symbol(arguments[0]) and all(map(_is_assumption, tree.keywords))
    if name == "Float":
        return len(arguments) == 1 and _is_real(arguments[0]) and all(map(_is_precision, tree.keywords))
    if tree.keywords:
        return False
    if name == "Integer":
        return len(arguments) == 1 and _integer(arguments[0]) is not None
    if name == "Rational":
        return len(arguments) == 2 and all(_integer(argument) for argument in arguments)
    if name in POWERS:
        return len(arguments) == 2 and _is_small_power(*arguments)
    return name in FUNCTIONS and bool(arguments) and all(map(_is_arithmetic, arguments))


def _is_small_power(base: ast.expr, power: ast.expr) -> bool:
    """Of a symbol alone, so that no power is taken of a power or of a number."""
    if not (_is_call(base, "Symbol") and _is_arithmetic(base) and _is_call(power, "Integer") and _is_arithmetic(power)):
        return False
    assert isinstance(power, ast.Call)
    return 0 <= (_integer(power.args[0]) or 0) <= MAX_POWER


def _is_call(tree: ast.expr, name: str) -> bool:
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == name


def _integer(tree: ast.expr) -> int | None:
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        value = _integer(tree.operand)
        return None if value is None else -value
    if isinstance(tree, ast.Constant) and type(tree.value) is int and tree.value <= MAX_INTEGER:
        return tree.value
    return None


def _is_symbol(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and isinstance(tree.value, str) and bool(check_symbol(tree.value))


def _is_real(tree: ast.expr) -> bool:
    text = tree.value if isinstance(tree, ast.Constant) else None
    return isinstance(text, str) and bool(re.fullmatch(r"-?\d{1,20}(\.\d{0,40})?(e[+-]?\d{1,2})?", text))


def _is_assumption(word: ast.keyword) -> bool:
    return word.arg in ASSUMPTIONS and isinstance(word.value, ast.Constant) and type(word.value.value) is bool


def _is_precision(word: ast.keyword) -> bool:
    return word.arg == "precision" and isinstance(word.value, ast.Constant) and word.value.value == 53


def _tree(tree: Any, depth: int) -> dict[str, Any]:
    if depth > MAX_TREE_DEPTH:
        raise ValueError("nested too deeply")
    kind, children = tree["type"], [_tree(child, depth + 1) for child in tree["children_spec"]]
    match kind:
        case "builtins.tuple" | "builtins.list" | None if tree["context"] in (None, "null"):
            if kind is None and children:
                raise ValueError("a leaf has no children")
            return {"type": kind, "context": None if kind is None else "null", "children_spec": children}
        case "builtins.dict":
            keys = [check_name(key) for key in json.loads(tree["context"])]
            if len(keys) != len(children):
                raise ValueError("as many keys as values")
            return {"type": kind, "context": json.dumps(keys), "children_spec": children}
    raise ValueError("neither tuple nor list nor dict")


def _no_tree(text: str) -> str:
    raise _refused("structure", text, "is not made of tuples, lists and dictionaries with names for keys")


def _refused(what: str, text: str, why: str) -> ModelError:
    return ModelError(f"the .pt2 file's {what} {text[:100]!r} {why}")
