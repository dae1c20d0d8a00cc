"""The warehouse: dbt builds it into a private DuckDB file, which is published once every test has passed.

    build     run dbt in this process, with a manifest kept in memory; what each step did
    publish   audit the build, then let it take the place of the version before by one atomic rename
    access    read-only connections to the published version
    prompt    the interactive SQL prompt

The SQL itself is in `dbt_project/`. Everything on disk lies under the folder WAREHOUSE_ROOT, see `layout`.
"""
