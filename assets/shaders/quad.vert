#version 330 core
// A rectangle in the room, by its four corners.
uniform mat4 view_projection;
uniform vec3 corners[4];  // top left, top right, bottom left, bottom right, metres
out vec2 uv;              // u to the right, v down

void main() {
    uv = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    gl_Position = view_projection * vec4(corners[gl_VertexID], 1.0);
}
