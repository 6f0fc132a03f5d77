#version 330 core
// A quiet room: dusk above, a floor with a faint grid that says where down is. Colours are sRGB unless LINEAR.
uniform vec3 eye;      // metres
uniform float floor_y;
in vec3 ray;
out vec4 color;

float grid(vec2 p, float cell) {
    vec2 q = p / cell;
    vec2 line = abs(fract(q - 0.5) - 0.5) / max(fwidth(q), vec2(1e-5));
    return 1.0 - min(min(line.x, line.y), 1.0);
}

void main() {
    vec3 d = normalize(ray);
    vec3 horizon = vec3(0.235, 0.245, 0.265);
    vec3 c = mix(horizon, vec3(0.085, 0.095, 0.12), smoothstep(0.0, 0.75, d.y));
    float depth = floor_y - eye.y;
    vec2 p = eye.xz + d.xz * (depth / min(d.y, -1e-3));
    float line = grid(p, 0.5);  // where neighbours still lie before the horizon, derivatives are whole
    if (d.y < -1e-3 && depth < 0.0) {
        float away = length(p - eye.xz);
        vec3 ground = mix(vec3(0.15, 0.155, 0.165), horizon, smoothstep(1.0, 9.0, away));
        c = ground + 0.045 * line * exp(-away * 0.45);
    }
    // less than a step of noise, which hides the bands of a slow gradient
    c += (fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(0.06711056, 0.00583715)))) - 0.5) / 255.0;
#ifdef LINEAR
    c = pow(max(c, vec3(0.0)), vec3(2.2));
#endif
    color = vec4(c, 1.0);
}
