"""Stereo on a headset through OpenXR: what the runtime says, its session, and the head in the viewer's room."""
