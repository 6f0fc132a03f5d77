#version 330 core
// The whole eye: a triangle strip of four corners, each with its ray into the room.
uniform vec4 tangents;  // left, right, up, down
uniform mat3 rotation;  // of the eye in the room
out vec3 ray;

void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    ray = rotation * vec3(mix(tangents.x, tangents.y, corner.x), mix(tangents.w, tangents.z, corner.y), -1.0);
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
