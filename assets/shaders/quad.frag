#version 330 core
// What is drawn into the room by hand: a board with a picture on it, a ray that starts faintly, a dot. Premultiplied
// sRGB, converted where the target holds linear colours (LINEAR).
const int BOARD = 0, RAY = 1, DOT = 2;
uniform sampler2D image;  // row 0 at the bottom
uniform int shape;
uniform vec4 tint;        // of rays and dots, not premultiplied
in vec2 uv;
out vec4 color;

void main() {
    vec4 c = tint;
    if (shape == BOARD) {
        c = vec4(texture(image, vec2(uv.x, 1.0 - uv.y)).rgb, 1.0);
    } else if (shape == RAY) {  // v from the hand to the end
        float across = 1.0 - abs(2.0 * uv.x - 1.0);
        c.a *= smoothstep(0.0, 0.6, across) * mix(0.15, 1.0, uv.y);
    } else {
        float radius = length(2.0 * uv - 1.0);
        float soft = fwidth(radius);
        c.rgb *= smoothstep(0.85, 0.65, radius);  // a dark rim: it is seen on bright things too
        c.a *= smoothstep(1.0, 1.0 - max(soft, 1e-3), radius);
    }
#ifdef LINEAR
    c.rgb = pow(c.rgb, vec3(2.2));
#endif
    color = vec4(c.rgb * c.a, c.a);
}
