from __future__ import annotations

import subprocess
import sys

from models.compat import import_timm, mend_torchvision


def test_timm_imports_in_a_fresh_interpreter_and_twice() -> None:
    code = "from models.compat import import_timm as t; assert t() is t(); import torchvision"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mending_twice_changes_nothing() -> None:
    mend_torchvision()
    mend_torchvision()
    assert import_timm().create_model("tf_efficientnet_lite0", pretrained=False)
