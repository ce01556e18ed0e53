"""What makes an INT8 graph: calibrators, the Q/DQ writer, sensitivity, cost, and the search that keeps a budget."""
