# shellcheck shell=bash
# Sourced by visavis.sh and test.sh: the Debian (and Ubuntu) packages that a wheel can't bring along.

# OpenCV, mediapipe, GLFW and a GL driver; the software one draws where there is no GPU.
DEBIAN_RUN_PACKAGES=(
    python3-venv libgl1 libegl1 libgles2 libgl1-mesa-dri libglib2.0-0 libx11-6 libxrandr2 libxinerama1 libxcursor1
    libxi6 libxkbcommon0
)
# A display without a screen, and hands to click in it.
DEBIAN_TEST_PACKAGES=(xvfb xauth xdotool)
# What the OpenXR runtime that tests speak to (../shared/openxr-runtime, built for Debian 12) is linked against.
# shellcheck disable=SC2034
DEBIAN_OPENXR_PACKAGES=(
    libvulkan1 mesa-vulkan-drivers libcjson1 libusb-1.0-0 libudev1 libxcb-randr0 libx11-xcb1 libbsd0
    libsdl2-2.0-0 libjpeg62-turbo libsystemd0
)
# What Blender as a module is linked against, besides the above (assets/performer).
# shellcheck disable=SC2034
DEBIAN_PERFORMER_PACKAGES=(libxfixes3 libxrender1 libsm6 libice6)

need_debian_packages() { # installs those of "$@" that are missing, or names them where it may not
    local missing=() become_root=() package state
    if ! command -v dpkg-query >/dev/null; then
        return 0 # not Debian: the README says what is needed
    fi
    for package in "$@"; do
        # Newer releases call some of them ...t64.
        state="$(dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null || true)"
        if [[ "$state" != *"ok installed"* ]]; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "visavis: system packages are missing; install them with: sudo apt-get install ${missing[*]}" >&2
            return 0
        fi
        become_root=(sudo -n)
    fi
    echo "Installing Debian packages: ${missing[*]}"
    "${become_root[@]}" apt-get update -qq
    "${become_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}
