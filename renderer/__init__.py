"""Turns (viewpoint, expression) into an image on time: rasterisers, neural cache, workers, schedule."""
