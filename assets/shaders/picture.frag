#version 330 core
// Premultiplied sRGB, `opacity` on top; converted where the target holds linear colours.
uniform sampler2D image;
uniform float opacity;
uniform bool linear;
in vec2 uv;
out vec4 color;

void main() {
    vec4 c = texture(image, uv);
    if (linear && c.a > 0.0) {
        c.rgb = pow(c.rgb / c.a, vec3(2.2)) * c.a;
    }
    color = c * opacity;
}
