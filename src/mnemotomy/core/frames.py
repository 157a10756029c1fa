"""Tables of pandas, an optional package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnemotomy.core.errors import MnemotomyError

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table.

    Raises:
        MnemotomyError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MnemotomyError("tables need pandas: pip install pandas") from error
    return pd.DataFrame.from_records(rows)
