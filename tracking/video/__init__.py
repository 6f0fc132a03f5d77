"""The offline fit of a video: landmarks, one identity, one camera, and what the head did in each frame."""
