"""The GPU path: motion-warp avatars from pose to picture without geometry or features on the host.

Kernels are written in Triton (raster.py, sampling.py, norms.py); plain.py holds the same functions in torch operations,
their twins. Which of the two an engine uses is an argument: production takes Triton, and says so where it can't.
"""
