#version 330 core
// A rectangle of the viewport, from two corners; gl_VertexID 0..3 makes the strip, no vertex buffer is needed. It is
// drawn in bands of equal height, one to an instance, each only as wide as there is something in it.
const int MOST_BANDS = 32;
uniform vec4 rect;      // left, top, right, bottom in viewport pixels, y down
uniform vec2 viewport;  // width, height in pixels
uniform vec4 source;    // the same corners in the texture, v down (row 0 of the upload is the top row)
uniform int bands;
uniform vec2 spans[MOST_BANDS];  // of the rectangle's width, per band
out vec2 uv;

void main() {
    vec2 span = spans[gl_InstanceID];
    vec2 corner = vec2((gl_VertexID & 1) == 0 ? span.x : span.y, float(gl_InstanceID + (gl_VertexID >> 1)) / float(bands));
    vec2 pixel = mix(rect.xy, rect.zw, corner);
    uv = mix(source.xy, source.zw, corner);
    gl_Position = vec4(pixel.x / viewport.x * 2.0 - 1.0, 1.0 - pixel.y / viewport.y * 2.0, 0.0, 1.0);
}
