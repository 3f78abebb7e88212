from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "ascend_scripts"


@pytest.mark.parametrize("name", ["train.sh", "export.sh", "convert_om.sh"])
def test_a_script_finds_its_parts_through_links_and_whatever_cd_prints(name, tmp_path):
    (tmp_path / "a link.sh").symlink_to(SCRIPTS / name)
    variables = {**os.environ, "CDPATH": f".:{SCRIPTS.parents[1]}"}
    for script, folder in (
        (tmp_path / "a link.sh", "/"),
        (f"ascend_scripts/{name}", SCRIPTS.parent),
    ):
        done = subprocess.run(
            [str(script), "--help"], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {name}")
