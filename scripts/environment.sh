# shellcheck shell=bash
# Sourced by visavis.sh and test.sh: makes .venv and installs this checkout into it, once per change of pyproject.toml.

find_python() { # what $PYTHON names, else the oldest supported Python on the PATH: every dependency has wheels for it
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "visavis: no Python 3.11 or newer found; install one (https://www.python.org/downloads/) or set PYTHON" >&2
    return 1
}

make_environment() { # $1: "" or an extra such as "[test]"
    local python venv=.venv wanted stamp
    wanted="$(cksum <pyproject.toml) ${1:-}"
    stamp=$venv/.visavis-installed
    if [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp"; then
        return
    fi
    if [ ! -x $venv/bin/python ]; then
        python=$(find_python)
        if ! "$python" -m venv $venv; then
            rm -rf $venv
            echo "visavis: $python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
            return 1
        fi
    fi
    echo "Installing into $PWD/$venv (the first time this takes some minutes) ..."
    local pip=($venv/bin/python -m pip install --disable-pip-version-check)
    if [ ! -t 1 ]; then
        pip+=(--quiet)
    fi
    # torch first and alone: resolved together with the rest, pip may pull in gigabytes of other builds.
    "${pip[@]}" "$(grep -oE 'torch==[0-9.]+' pyproject.toml)"
    "${pip[@]}" -e ".${1:-}"
    echo "$wanted" >>"$stamp"
}

make_performer_environment() { # .performer: Blender as a module wants another numpy than the program
    local python venv=.performer wanted="bpy==4.5.15 safetensors==0.8.0 pytest==9.2.0 pytest-timeout==2.4.0"
    if [ -f "$venv/.visavis-installed" ] && grep -qxF "$wanted" "$venv/.visavis-installed"; then
        return
    fi
    python="$(command -v python3.11)" || {
        echo "visavis: Blender as a module needs Python 3.11, which is not here" >&2
        return 1
    }
    "$python" -m venv $venv
    echo "Installing Blender into $PWD/$venv (about 1 GB) ..."
    # shellcheck disable=SC2086
    $venv/bin/python -m pip install --disable-pip-version-check --quiet $wanted
    echo "$wanted" >"$venv/.visavis-installed"
}
