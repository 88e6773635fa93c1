"""The container file: built where there is a builder, else its steps run in an environment.

Without a builder the environment borrows the packages that are installed here, which the README's
own command has just installed; that would take minutes a second time. What is new is the package
itself, as a wheel has it and from outside its folder: its templates, studies and tasks are there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / ".github" / "Containerfile"
USED = """
from pathlib import Path
import search
from search import Study
from search.cli import main
from search.reporting import page
from spaces.catalogue import load_catalogue
from spaces.studies import load_study
assert not Path(search.__file__).is_relative_to({root!r}), search.__file__
load_catalogue()
load_study("xtreme_legal")
for name in ("page", "notebook"):
    page._template(name + ".html.jinja")
assert main(["run", "--list"]) == 0
"""


def steps(instruction: str) -> list[str]:
    """What follows an instruction, line by line, continued lines as one."""
    text = re.sub(r"^ *#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = text.replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", text, re.MULTILINE)


def builder() -> str | None:
    """A program that builds images here; None where there is none, or its service is not up."""
    for name in ("podman", "buildah", "docker"):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True).returncode
        ):
            return name
    return None


def test_it_copies_what_is_there() -> None:
    for copied in steps("COPY"):
        *sources, _ = copied.split()
        assert all((ROOT / source).exists() for source in sources)


@pytest.mark.slow
def test_its_image_is_built_and_its_command_answers() -> None:
    if (program := builder()) is None:
        pytest.skip("no builder of images here; its steps are run instead")
    words = [program, "build", "-q", "-f", str(FILE), "-t", "transfer-search-test", str(ROOT)]
    subprocess.run(words, check=True)
    done = subprocess.run(
        [program, "run", "--rm", "transfer-search-test", "transfer-search", "run", "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "xtreme_legal" in done.stdout


@pytest.mark.slow
def test_its_steps_make_an_environment_that_needs_no_checkout(tmp_path: Path) -> None:
    place = tmp_path / "transfer-search"
    place.mkdir()
    for copied in steps("COPY"):
        *sources, to = copied.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place / to)
            else:
                shutil.copy(ROOT / source, place / to)
    environment = {x: v for x, v in os.environ.items() if x not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment |= {
        "EXTRAS": "embedded",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = [step.replace("/opt/", f"{tmp_path}/") for step in steps("RUN") if "/opt/" in step]
    assert len(ran) == 2
    for step in ran:
        done = subprocess.run(
            ["sh", "-c", step],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "-c", USED.format(root=str(ROOT))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "xtreme_legal" in done.stdout
