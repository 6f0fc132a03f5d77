"""What opening an avatar must not import: torch's compiler and what it drags along take a second of every start."""

import subprocess
import sys


def test_opening_an_avatar_imports_no_compiler() -> None:
    script = (
        "import sys; from assets import BUNDLED_AVATAR, asset_path; from models.avatar_file import load_avatar; "
        "load_avatar(asset_path(BUNDLED_AVATAR)); "
        "print([name for name in ('torch._dynamo', 'torch._inductor', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"
