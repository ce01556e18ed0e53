"""Export to ONNX, the parity gate, and the graph lowered to each precision. Only export and parity know torch."""
