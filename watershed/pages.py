"""Static pages from disk: dbt's documentation and Great Expectations' Data Docs, behind one index."""

import html
import shutil
from pathlib import Path

from ingestion.expectations import docs, suite
from ingestion.spec import sources
from warehouse import build

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Watershed: documentation</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem}}
a{{color:#2a5d9f}}@media(prefers-color-scheme:dark){{body{{background:#111;color:#ddd}}a{{color:#8db8ee}}}}</style>
<h1>Watershed</h1><ul>{items}</ul></html>
"""


def write(home: Path) -> Path:
    """Write all pages below `<home>/docs` and return the index. Raises BuildFailed if dbt cannot write its part."""
    out = home / "docs"
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(build.docs(), out / "dbt.html")
    links = {"dbt.html": "Models, columns, tests and lineage (dbt)"}
    suites = [suite.suite_for(source.name, table) for source in sources() for table in source.tables]
    pages = docs.build_data_docs(home, suites, out / "expectations")
    links[str(pages.relative_to(out))] = "Expectations and their last results (Great Expectations Data Docs)"
    items = "".join(f'<li><a href="{html.escape(path)}">{html.escape(text)}</a></li>' for path, text in links.items())
    index = out / "index.html"
    index.write_text(PAGE.format(items=items))
    return index
