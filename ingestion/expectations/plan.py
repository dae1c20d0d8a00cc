"""From an expectation to the SQL that measures it on a table."""

from collections.abc import Callable, Mapping

from ingestion.expectations import column_plans as columns
from ingestion.expectations import row_plans as rows
from ingestion.expectations.conditions import condition_sql
from ingestion.expectations.measure import Plan, Relation
from ingestion.expectations.registry import KINDS
from ingestion.expectations.suite import Expectation


def plan(expectation: Expectation, relation: Relation) -> Plan:
    """The plan of an expectation whose parameters are filled in. Raises UnfitError if the table cannot answer it."""
    kwargs = expectation.kwargs
    where = condition_sql(kwargs["row_condition"], relation.columns) if "row_condition" in kwargs else "TRUE"
    for column in expectation.columns if KINDS[expectation.type].form != "table" else ():
        relation.type_of(column)
    return _PLANS[expectation.type](expectation, relation, where)


_PLANS: Mapping[str, Callable[[Expectation, Relation, str], Plan]] = {
    "expect_column_values_to_not_be_null": rows.nulls(False),
    "expect_column_values_to_be_null": rows.nulls(True),
    "expect_column_values_to_be_unique": rows.unique,
    "expect_column_values_to_be_in_set": rows.each_value("in_set"),
    "expect_column_values_to_not_be_in_set": rows.each_value("not_in_set"),
    "expect_column_values_to_be_between": rows.each_value("between"),
    "expect_column_values_to_match_regex": rows.each_value("regex"),
    "expect_column_values_to_not_match_regex": rows.each_value("not_regex"),
    "expect_column_value_lengths_to_be_between": rows.each_value("lengths"),
    "expect_column_value_lengths_to_equal": rows.each_value("length"),
    "expect_column_values_to_be_of_type": columns.of_type,
    "expect_column_values_to_be_in_type_list": columns.of_type,
    "expect_column_pair_values_a_to_be_greater_than_b": rows.pair(
        lambda kwargs: ">=" if kwargs.get("or_equal") else ">"
    ),
    "expect_column_pair_values_to_be_equal": rows.pair(lambda _: "="),
    "expect_compound_columns_to_be_unique": rows.unique,
    "expect_column_min_to_be_between": columns.aggregate("min({})"),
    "expect_column_max_to_be_between": columns.aggregate("max({})"),
    "expect_column_mean_to_be_between": columns.aggregate("avg({})", "DOUBLE"),
    "expect_column_median_to_be_between": columns.aggregate("median(CAST({} AS DOUBLE))", "DOUBLE"),
    "expect_column_stdev_to_be_between": columns.aggregate("stddev_samp({})", "DOUBLE"),
    "expect_column_sum_to_be_between": columns.aggregate("sum({})", "DOUBLE"),
    "expect_column_unique_value_count_to_be_between": columns.distinct(share=False),
    "expect_column_proportion_of_unique_values_to_be_between": columns.distinct(share=True),
    "expect_column_proportion_of_non_null_values_to_be_between": columns.non_null_share,
    "expect_column_to_exist": columns.exists,
    "expect_table_columns_to_match_set": columns.column_set,
    "expect_table_column_count_to_equal": columns.column_count,
    "expect_table_row_count_to_be_between": columns.row_count,
    "expect_table_row_count_to_equal": columns.row_count,
}
