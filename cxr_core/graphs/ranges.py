"""How large the values inside a graph become on real images."""

import numpy as np
import onnx
from onnx import helper

from cxr_core.graphs.answers import Answering, Images
from cxr_core.graphs.files import INPUT

_BATCH = 8


def largest_values(model: onnx.ModelProto, tensors: list[str], images: Images) -> dict[str, float]:
    """Largest magnitude of each float32 tensor over ``images`` uint8 ``[n, 1, H, W]``."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in tensors:
        watched.graph.node.append(helper.make_node("Abs", [name], [f"{name}.magnitude"]))
        watched.graph.node.append(helper.make_node("ReduceMax", [f"{name}.magnitude"], [f"{name}.largest"], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(f"{name}.largest", onnx.TensorProto.FLOAT, []))
    session = Answering(watched.SerializeToString()).session
    batches = (images[i : i + _BATCH].astype(np.float32) for i in range(0, len(images), _BATCH))
    seen = [session.run(None, {INPUT: batch}) for batch in batches]
    return dict(zip(tensors, np.max(np.asarray(seen), axis=0).tolist(), strict=True))
