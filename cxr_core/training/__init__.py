"""Training: network, recipe, loop, checkpoint. The only room besides ``graphs.export`` that knows torch."""
