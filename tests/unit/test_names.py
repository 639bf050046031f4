"""Names say what is in them, and rooms are small enough to be looked over."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("prep", "forecasting", "classical", "deep", "launch", "hindcast")
MODULES = {
    str(file.relative_to(ROOT)): ast.parse(file.read_text())
    for folder in FOLDERS
    for file in sorted((ROOT / folder).rglob("*.py"))
}
# Words that stand for anything, and so say nothing of what they stand for.
VAGUE = {"found", "told", "asked", "given", "some", "one", "said"}
# What a model is given has this name in the protocol of all forecasters, and a class of its own.
GIVEN = "Given"
MOST_MODULES = 16


def public_names(tree: ast.AST) -> Iterator[str]:
    """Names of public functions and classes, of their fields and their parameters; but not of what is a Given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != GIVEN:
            yield node.name.lower()
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
            yield from (ast.unparse(field.target) for field in fields if not _is_given(field.annotation))
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            if not _is_given(node.returns):
                yield node.name
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            yield from (parameter.arg for parameter in every if not _is_given(parameter.annotation))


def _is_given(annotation: ast.expr | None) -> bool:
    return annotation is not None and GIVEN in ast.unparse(annotation)


def test_no_public_name_is_vague() -> None:
    vague = {name: sorted(VAGUE & set(public_names(tree))) for name, tree in MODULES.items()}
    assert {name: words for name, words in vague.items() if words} == {}


def test_vague_names_are_seen() -> None:
    code = "class Found:\n    told: int\ndef look(asked): ...\ndef some(x: Given, given: Given): ...\ndef _own(one): ..."
    assert VAGUE & set(public_names(ast.parse(code))) == {"found", "told", "asked", "some"}


def test_a_room_has_no_more_modules_than_can_be_looked_over() -> None:
    folders = {(ROOT / name).parent for name in MODULES}
    counts = {str(folder.relative_to(ROOT)): len([*folder.glob("*.py")]) - 1 for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_a_module_says_what_it_is() -> None:
    assert [name for name, tree in MODULES.items() if not ast.get_docstring(tree)] == []
