"""YAML 1.2 as people mean it: ``1e-6`` is a number, ``no`` is a word, and a key is read as written."""

from __future__ import annotations

import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode

from mnemotomy.core.errors import DataError

_TAG = "tag:yaml.org,2002:"


_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


class _Constructor(SafeConstructor):
    """Keys and dates as written; ruamel itself refuses a duplicate key."""

    def construct_scalar(self, node: Any) -> Any:
        if isinstance(node, ScalarNode) and _NO_TEXT.search(node.value):
            raise ConstructorError(None, None, "a null character or half a surrogate pair", node.start_mark)
        return super().construct_scalar(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, MappingNode):
            for key, _ in node.value:
                if not isinstance(key, ScalarNode):
                    raise ConstructorError(None, None, "a key must be a word", key.start_mark)
                if key.tag != f"{_TAG}merge":
                    key.tag = f"{_TAG}str"
        return super().construct_mapping(node, deep=deep)


_Constructor.add_constructor(f"{_TAG}timestamp", SafeConstructor.construct_yaml_str)


def read_yaml(text: str) -> Any:
    """One YAML document as dicts, lists, words, numbers, booleans and None.

    Raises:
        DataError: it is not valid YAML, or has a duplicate key; it says where.
    """
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    try:
        return reader.load(text)
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        raise DataError(f"not valid YAML: {_place(error)}") from error


def write_yaml(data: Any) -> str:
    """``data`` as a YAML document, keys in their order."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 4096
    stream = io.StringIO()
    writer.dump(data, stream)
    return stream.getvalue()


def _place(error: Exception) -> str:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    if mark is None:
        return " ".join(str(error).split())
    problem = " ".join(str(getattr(error, "problem", "")).split())
    return f"{problem} at line {mark.line + 1}, column {mark.column + 1}"
