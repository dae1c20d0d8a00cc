"""Plans for expectations about a column or a table as a whole."""

from collections.abc import Callable, Sequence
from typing import Any

from ingestion.expectations.measure import Plan, Relation, Verdict, bounds, counted, inside, kept
from ingestion.expectations.suite import Expectation
from ingestion.expectations.values import UnfitError, family, plain, same_type


def aggregate(template: str, casting: str | None = None) -> Callable[[Expectation, Relation, str], Plan]:
    """A plan for one aggregate of a column; `casting` is the type of those that only numbers have."""

    def planned(expectation: Expectation, relation: Relation, where: str) -> Plan:
        column = expectation.kwargs["column"]
        duck_type, value = relation.type_of(column), relation.value(column)
        if casting:
            if family(duck_type) not in ("number", "truth"):
                raise UnfitError(f'column "{column}" is {duck_type}, which cannot be added up')
            value = f"CAST(({value}) AS {'INTEGER' if family(duck_type) == 'truth' else duck_type})"
        duck_type = casting or duck_type
        observed = kept(template.format(value), where)
        observed = f"coalesce({observed}, 0)" if template.startswith("sum") else observed
        within = bounds(column, duck_type, observed, expectation.kwargs)

        def judge(values: Sequence[Any]) -> Verdict:
            return Verdict(values[1] is True, {"observed_value": plain(values[0])})

        return Plan((observed, f"({within})"), judge)

    return planned


def distinct(share: bool) -> Callable[[Expectation, Relation, str], Plan]:
    """A plan for how many different values a column has, or their share of its values."""

    def planned(expectation: Expectation, relation: Relation, where: str) -> Plan:
        value = f"({relation.value(expectation.kwargs['column'])})"
        present = f"{value} IS NOT NULL"
        different = f"SELECT DISTINCT {value} FROM {relation.sql} WHERE ({where}) AND {present}"

        def judge(values: Sequence[Any]) -> Verdict:
            rows, found = values
            observed = (found / rows if rows else 0) if share else found
            return Verdict(inside(observed, expectation.kwargs), {"observed_value": observed})

        return Plan((counted(where, present),), judge, grouped=f"SELECT count(*) FROM ({different})")

    return planned


def non_null_share(expectation: Expectation, relation: Relation, where: str) -> Plan:
    """A plan for the share of rows in which a column is set."""

    def judge(values: Sequence[Any]) -> Verdict:
        rows, present = values
        observed = present / rows if rows else 0
        return Verdict(inside(observed, expectation.kwargs), {"observed_value": observed})

    present = f"({relation.value(expectation.kwargs['column'])}) IS NOT NULL"
    return Plan((counted(where), counted(where, present)), judge)


def _known(verdict: Verdict) -> Plan:
    return Plan((), lambda _: verdict)


def exists(expectation: Expectation, relation: Relation, _: str) -> Plan:
    """A plan for a column that is there, at a position if one is given."""
    names, index = list(relation.columns), expectation.kwargs.get("column_index")
    if index is None:
        return _known(Verdict(expectation.kwargs["column"] in names, {}))
    return _known(Verdict(names[index : index + 1 or None] == [expectation.kwargs["column"]], {}))


def column_set(expectation: Expectation, relation: Relation, _: str) -> Plan:
    """A plan for the set of columns; with `exact_match: false` more may be there."""
    wanted, actual = set(expectation.kwargs["column_set"]), set(relation.columns)
    gaps = {"unexpected": sorted(actual - wanted), "missing": sorted(wanted - actual)}
    gaps = {key: names for key, names in gaps.items() if names}
    result: dict[str, Any] = {"observed_value": sorted(actual)}
    if gaps:
        result["details"] = {"mismatched": gaps}
    exact = expectation.kwargs.get("exact_match", True)
    return _known(Verdict(not gaps if exact else "missing" not in gaps, result))


def column_count(expectation: Expectation, relation: Relation, _: str) -> Plan:
    """A plan for the number of columns."""
    count = len(relation.columns)
    return _known(Verdict(count == expectation.kwargs["value"], {"observed_value": count}))


def row_count(expectation: Expectation, _: Relation, where: str) -> Plan:
    """A plan for the number of rows."""
    exact = expectation.kwargs.get("value")
    kwargs = expectation.kwargs if exact is None else {"min_value": exact, "max_value": exact}
    return Plan((counted(where),), lambda found: Verdict(inside(found[0], kwargs), {"observed_value": found[0]}))


def of_type(expectation: Expectation, relation: Relation, _: str) -> Plan:
    """A plan for a column's DuckDB type, one of those expected."""
    names = expectation.kwargs.get("type_list") or [expectation.kwargs["type_"]]
    actual = relation.type_of(expectation.kwargs["column"])
    fits = any(same_type(actual, name, relation.canonical) for name in names)
    return _known(Verdict(fits, {"observed_value": actual}))
