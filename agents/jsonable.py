"""Plain data as JSON can hold it."""

import math
from typing import Any


def jsonable(value: Any) -> Any:
    """Dicts, lists and scalars with null in place of each number that is not finite: JSON knows no NaN."""
    match value:
        case dict():
            return {key: jsonable(each) for key, each in value.items()}
        case list() | tuple():
            return [jsonable(each) for each in value]
        case float() if not math.isfinite(value):
            return None
    return value
