"""Where poses and expressions come from: webcam, mouse, traces, and the offline fit of a video."""
