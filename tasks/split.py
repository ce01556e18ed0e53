"""split: which patient belongs to train, val or test, and how far shortcuts alone already tell the classes."""

from cxr_core.config import SplitConfig
from cxr_core.refs import Record
from tasks.stage import Arguments, stage


@stage("split", core="cxr_core.data.split:split", packages=("scikit-learn", "scipy", "numpy", "pandas", "pillow"))
def split(ingested: Record, config: SplitConfig) -> Arguments:
    return {"manifest": ingested.output("manifest.csv"), "thumbs": ingested.output("thumbs.npy"), "config": config}
