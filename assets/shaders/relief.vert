#version 330 core
// A picture with depth, taken by one camera, as seen from another place.
uniform sampler2D depths;        // metres along the taking camera's axis
uniform vec4 tangents;           // of the picture's left, right, upper, lower edge there
uniform mat4 projection_camera;  // from the taking camera's frame to clip space
in vec2 place;                   // 0..1, row 0 on top
out vec2 uv;

void main() {
    float depth = textureLod(depths, place, 0.0).r;
    vec2 ray = vec2(mix(tangents.x, tangents.y, place.x), mix(tangents.z, tangents.w, place.y));
    uv = place;
    gl_Position = projection_camera * vec4(ray * depth, -depth, 1.0);
}
