"""The content store: artifacts by digest, records, runs, pins. See README.md for what it promises."""

from cxr_core.store.actions import StoredRecord
from cxr_core.store.gc import GcReport, Kept, Removed
from cxr_core.store.locks import FlockTable
from cxr_core.store.runs import Run
from cxr_core.store.store import Row, Store
from cxr_core.store.usage import Share, Usage
from cxr_core.store.verify import Damage, VerifyReport
from cxr_core.store.why import Difference, Explanation

__all__ = [
    "Damage",
    "Difference",
    "Explanation",
    "FlockTable",
    "GcReport",
    "Kept",
    "Removed",
    "Row",
    "Run",
    "Share",
    "Store",
    "StoredRecord",
    "Usage",
    "VerifyReport",
]
