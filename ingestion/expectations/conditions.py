"""Great Expectations' row conditions as SQL."""

from collections.abc import Mapping
from typing import Any

from ingestion.expectations.values import UnfitError, fitting, measurable

_SIGNS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "IN": "IN", "NOT_IN": "NOT IN"}
_KEEP_NULL = ("!=", "NOT_IN")


def condition_sql(condition: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The SQL predicate of a condition in Great Expectations' JSON form, over `columns` (name to DuckDB type).

    As in its pandas execution a NULL differs from every value: `!=` and `NOT_IN` keep it. Raises UnfitError.
    """
    if "conditions" in condition:
        parts = [f"({condition_sql(part, columns)})" for part in condition["conditions"]]
        return f" {condition['type'].upper()} ".join(parts)
    column = condition["column"]["name"]
    if column not in columns:
        raise UnfitError(f'column "{column}" of its row_condition does not exist')
    value = measurable(column, columns[column])
    if condition["type"] == "nullity":
        return f"({value}) IS {'NULL' if condition['is_null'] else 'NOT NULL'}"
    operator, parameter = condition["operator"], condition["parameter"]
    items = parameter if operator in ("IN", "NOT_IN") else [parameter]
    literals = [fitting(column, columns[column], item) for item in items]
    if not literals:
        return "TRUE" if operator == "NOT_IN" else "FALSE"
    right = f"({', '.join(literals)})" if operator in ("IN", "NOT_IN") else literals[0]
    return f"(({value}) {_SIGNS[operator]} {right}) IS {'NOT FALSE' if operator in _KEEP_NULL else 'TRUE'}"
