"""The tables that the metrics store holds by its declaration, for when the store itself cannot be asked."""

from collections.abc import Mapping


def metrics_tables() -> Mapping[str, Mapping[str, str]]:
    """Each hypertable and roll-up with its columns and their types, as declared for the Apache edition."""
    from metrics import shape, spec

    shapes = []
    for hypertable in spec.read().hypertables:
        shapes.append(shape.declared(hypertable))
        shapes += [shape.declared_rollup(hypertable, bucket) for bucket in hypertable.rollup_names]
    return {one.name: one.columns for one in shapes}
