"""Mirrors of a store: the same layout in a folder or a bucket, pushed to and pulled from. README.md says what holds."""

from cxr_core.mirror.documents import Document, Left, Report
from cxr_core.mirror.pulling import pull, pull_run
from cxr_core.mirror.pushing import Choose, push
from cxr_core.mirror.remote import Mirror
from cxr_core.mirror.through import ReadThrough, problem_of

__all__ = ["Choose", "Document", "Left", "Mirror", "ReadThrough", "Report", "problem_of", "pull", "pull_run", "push"]
