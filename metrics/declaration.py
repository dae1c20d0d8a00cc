"""A declaration in YAML, as all of them are read: what the file says, in which nothing stands twice."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from lake.errors import SpecError


class Fact(BaseModel):
    """A part of a declaration: fixed once it is read, and without a key that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def said(path: Path) -> Any:
    """What the file says; SpecError if it cannot be read, is not YAML, or says a key twice."""
    try:
        return yaml.load(path.read_text("utf-8"), Loader=_Strict)  # noqa: S506 - a SafeLoader that refuses doubles
    except OSError as error:
        raise SpecError(str(path), f"cannot be read ({error.strerror})", "check the path") from None
    except yaml.YAMLError as error:
        raise SpecError(str(path), f"is not YAML ({' '.join(str(error).split())})", "mend the syntax") from None


class _Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.YAMLError(
                    f"the key `{key}` stands twice, line {node.value[position][0].start_mark.line + 1}"
                )
        return super().construct_mapping(node, deep)
