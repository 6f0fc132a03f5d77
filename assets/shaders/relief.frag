#version 330 core
// Premultiplied sRGB, `opacity` on top; converted where the target holds linear colours (LINEAR).
uniform sampler2D image;
uniform float opacity;
in vec2 uv;
out vec4 color;

void main() {
    vec4 c = texture(image, uv);
    if (c.a < 0.5 / 255.0) {
        discard;  // what is not seen hides nothing
    }
#ifdef LINEAR
    c.rgb = pow(c.rgb / c.a, vec3(2.2)) * c.a;
#endif
    color = c * opacity;
}
