"""Great Expectations suites for the lake's processed tables, measured by DuckDB at full size.

`suite.suite_for` turns a table's declaration into a suite, `evaluate.evaluate` measures it in as few scans as
possible, `store` keeps the results as Great Expectations' own JSON and `docs` renders them as its Data Docs. Only
`docs` imports Great Expectations, which costs 4 to 6 CPU-seconds and a good 100 MB.
"""
