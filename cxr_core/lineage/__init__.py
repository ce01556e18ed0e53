"""Where an artifact comes from: every stage between it and the X-rays. See README.md for what it promises."""

from cxr_core.lineage.accounts import Account, accounts
from cxr_core.lineage.document import document
from cxr_core.lineage.graph import Edge, Graph, Node, lineage

__all__ = ["Account", "Edge", "Graph", "Node", "accounts", "document", "lineage"]
