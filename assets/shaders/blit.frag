#version 330 core
// sRGB values pass as they are: neither the textures nor the framebuffer convert.
uniform sampler2D image;
in vec2 uv;
out vec4 color;

void main() {
    color = texture(image, uv);
}
