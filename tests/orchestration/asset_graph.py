"""The asset graph as text: what a person would miss in a review if it changed by accident.

Write it anew with `.venv/bin/python tests/orchestration/asset_graph.py > tests/golden/asset_graph.txt`.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "asset_graph.txt"


def text(definitions: dg.Definitions) -> str:
    """All assets, by key: stage, kinds, owners, whether partitioned by day, parents, checks."""
    return "\n".join(_lines(definitions)) + "\n"


def _lines(definitions: dg.Definitions) -> Iterator[str]:
    graph = definitions.resolve_asset_graph()
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        if not node.is_materializable:
            continue
        days = ", by day" if node.is_partitioned else ""
        yield f"{key.to_user_string()}  ({node.group_name}; {', '.join(sorted(node.kinds))}{days})"
        yield f"    owned by {', '.join(sorted(node.owners)) or '-'}"
        yield from (f"    from {parent.to_user_string()}" for parent in sorted(node.parent_keys))
        yield from (f"    check {check.name}" for check in sorted(node.check_keys, key=lambda check: check.name))


if __name__ == "__main__":
    import sys

    from orchestration.definitions import defs

    sys.stdout.write(text(defs()))
