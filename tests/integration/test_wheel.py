"""The wheel, installed as people install it: in an environment of its own, no checkout beside it.

The dependencies are those of this environment, so that no network is needed; the checkout is not on
the path of what is tested.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import headgate
from headgate.demo.processes import free_port
from tests.processes import end

ROOT = Path(__file__).resolve().parents[2]
WHEEL = f"headgate-{headgate.__version__}-py3-none-any.whl"
PACKAGES = ("headgate", "streams", "connectors", "models")

pytestmark = pytest.mark.timeout(120)


class Environment:
    """A virtual environment with a wheel in it, and what the wheel needs."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin/python"
        self.headgate = folder / "bin/headgate"
        self.install(wheel)
        see_dependencies(folder)

    def install(self, wheel: Path) -> None:
        """Install one more wheel, over whatever is there."""
        pip("--python", str(self.python), "install", *("--no-deps", "--no-index"), str(wheel))

    def run(
        self, *command: str | Path, cwd: Path, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in a folder; it is expected to exit with ``code``."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=bare(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


def bare() -> dict[str, str]:
    """The environment's variables, without those that change where Python looks."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def pip(*arguments: str) -> None:
    """Run this environment's pip."""
    quiet = ("--quiet", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", *quiet, *arguments]
    done = subprocess.run(command, cwd="/", env=bare(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def see_dependencies(folder: Path) -> None:
    """Let an environment see the packages of this one; ``.pth`` files in there don't count."""
    (site,) = folder.glob("lib/python3*/site-packages")
    packages = [place for place in sys.path if Path(place).name == "site-packages"]
    (site / "dependencies.pth").write_text("\n".join(packages))


def is_let_through(path: str) -> bool:
    """Whether ``.dockerignore`` lets a file into what the image is built from."""
    is_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        heads = {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
        if "**/" in line:
            heads |= set(parts)
        if any(fnmatch.fnmatch(head, pattern) for head in heads):
            is_in = line.startswith("!")
    return is_in


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from those files of the project that Docker gets to see."""
    source = tmp_path_factory.mktemp("source")
    for folder, below, names in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        below[:] = [
            name for name in below if name != "tests" and (name == "deploy" or name[0] != ".")
        ]
        for name in names:
            if is_let_through((here / name).as_posix()):
                (source / here).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / here / name, source / here / name)
    dist = tmp_path_factory.mktemp("dist")
    built = ("--no-deps", "--no-build-isolation", "--no-index")
    pip("wheel", *built, "-w", str(dist), str(source))
    return dist / WHEEL


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that the wheel was installed in."""
    return Environment(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture(scope="module")
def plant(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder that ``headgate init`` has written."""
    folder = tmp_path_factory.mktemp("plants") / "plant"
    installed.run(installed.headgate, "init", folder, cwd=folder.parent)
    return folder


def test_it_is_the_wheel_that_runs(installed: Environment, tmp_path: Path) -> None:
    """All four packages come from the environment, and none from the checkout."""
    script = f"import json, {', '.join(PACKAGES)}\n"
    script += f"print(json.dumps([each.__file__ for each in ({', '.join(PACKAGES)})]))"
    done = installed.run(installed.python, "-c", script, cwd=tmp_path)

    for name, file in zip(PACKAGES, json.loads(done.stdout), strict=True):
        assert Path(file).parents[1].is_relative_to(installed.python.parents[1]), name
    told = installed.run(installed.headgate, "--version", cwd=tmp_path)
    assert told.stdout == f"headgate {headgate.__version__}\n"


def test_a_working_folder_is_written_and_good(installed: Environment, plant: Path) -> None:
    """As in the checkout; the model that it names is in it, whole."""
    done = installed.run(installed.headgate, "check", "-c", "headgate.toml", "--strict", cwd=plant)
    assert done.stdout.startswith("headgate.toml: good: 1 feed, 1 model")
    shown = installed.run(installed.headgate, "model", "show", "models/zoo/pump", cwd=plant)
    assert "hashes and golden outputs agree" in shown.stdout
    for path in plant.rglob("*"):
        if path.is_file() and path.name != WHEEL:
            assert path.read_bytes() == (ROOT / path.relative_to(plant)).read_bytes()


def test_the_written_wheel_is_the_one_that_was_installed(
    wheel: Path, installed: Environment, plant: Path, tmp_path: Path
) -> None:
    """All its files are in it, it can be installed, and it writes the same folder again."""
    written = plant / "deploy/image" / WHEEL
    with zipfile.ZipFile(wheel) as expected, zipfile.ZipFile(written) as found:
        assert set(found.namelist()) == set(expected.namelist())
        for name in expected.namelist():
            if not name.endswith((".dist-info/RECORD", ".dist-info/WHEEL")):
                assert found.read(name) == expected.read(name), name
    again = Environment(tmp_path / "environment", written)
    again.run(again.headgate, "init", "plant", cwd=tmp_path)

    for path in plant.rglob("*"):
        if path.is_file():
            assert (tmp_path / "plant" / path.relative_to(plant)).read_bytes() == path.read_bytes()


def test_the_demo_explains_itself(installed: Environment, tmp_path: Path) -> None:
    """And finds its model in the package."""
    done = installed.run(installed.headgate, "demo", "--help", cwd=tmp_path)
    assert "usage: headgate demo" in done.stdout
    script = "from headgate.demo.config import PUMP_MODEL as m; print((m / 'model.toml').is_file())"
    assert installed.run(installed.python, "-c", script, cwd=tmp_path).stdout == "True\n"


def test_a_benchmark_asks_for_the_source(installed: Environment, tmp_path: Path) -> None:
    """What it measures beside the gateway is not in the wheel."""
    done = installed.run(installed.headgate, "bench", "--quick", cwd=tmp_path, code=2)
    assert done.stderr.startswith("bench: expected a checkout of Headgate's source")


def test_a_gateway_starts_in_any_folder(
    installed: Environment, plant: Path, tmp_path: Path
) -> None:
    """Its lanes run, though the folder it is started in has one called ``streams``."""
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams/__init__.py").touch()
    shutil.copytree(plant, tmp_path / "plant")
    config = tmp_path / "plant/headgate.toml"
    port = free_port()
    text = config.read_text().replace("port = 1883", f"port = {free_port()}")
    config.write_text(text.replace("[console]", f"[console]\nport = {port}"))
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [installed.headgate, "run", "-c", config],
            cwd=tmp_path,
            env=bare(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        for _ in range(450):
            assert process.poll() is None, output.read_text()
            if is_healthy(port):
                break
            time.sleep(0.1)
        assert is_healthy(port), output.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        end(process, within_s=15)


def is_healthy(port: int) -> bool:
    """Whether all lanes run and report."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def tool_folders(folder: Path) -> dict[str, str]:
    """Variables that keep what uv and pipx make below a folder; their programs go to ``bin``."""
    return {
        "UV_TOOL_DIR": str(folder / "uv"),
        "UV_TOOL_BIN_DIR": str(folder / "bin"),
        "UV_CACHE_DIR": str(folder / "cache"),
        "PIPX_HOME": str(folder / "pipx"),
        "PIPX_BIN_DIR": str(folder / "bin"),
        "PIPX_MAN_DIR": str(folder / "man"),
    }


def write_empty_dependencies(wheel: Path, folder: Path) -> None:
    """A wheel without content for each package that ours asks for, as an index would offer it."""
    with zipfile.ZipFile(wheel) as archive:
        about = archive.read(f"headgate-{headgate.__version__}.dist-info/METADATA").decode()
    for line in re.findall(r"^Requires-Dist: (.*)$", about, re.MULTILINE):
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue  # of an extra, or of another Python
        name, number = need.name.replace("-", "_"), version(need.name)
        write_wheel(folder / f"{name}-{number}-py3-none-any.whl", {})


def write_wheel(wheel: Path, content: dict[str, str]) -> None:
    """Write a wheel with these files."""
    name, number, _ = wheel.name.split("-", 2)
    about = f"{name}-{number}.dist-info"
    content = {
        **content,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*content, f"{about}/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)


@pytest.mark.parametrize(
    ("tool", "options"),
    [
        ("uv", "tool install --offline --no-index --find-links {} --python {}"),
        ("pipx", "install --skip-maintenance --pip-args=--no-index\\ --find-links={} --python {}"),
    ],
)
def test_tools_install_it(tool: str, options: str, wheel: Path, tmp_path: Path) -> None:
    """Both make an environment of its own; no network is needed for that here."""
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = shutil.which(tool, path=beside)
    if program is None:
        pytest.skip(f"{tool} is not installed: pip install {tool}")
    (tmp_path / "index").mkdir()
    write_empty_dependencies(wheel, tmp_path / "index")
    variables = {**bare(), **tool_folders(tmp_path)}
    python = Path(sys.executable).resolve()
    command = [program, *shlex.split(options.format(tmp_path / "index", python)), str(wheel)]
    done = subprocess.run(
        command, cwd="/", env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (site,) = tmp_path.rglob("site-packages/headgate")
    see_dependencies(site.parents[3])

    for line in ("init plant", "check -c plant/headgate.toml"):
        command = [str(tmp_path / "bin/headgate"), *line.split()]
        subprocess.run(command, cwd=tmp_path, env=bare(), check=True)


@pytest.mark.parametrize("name", PACKAGES[1:])
def test_a_folder_in_the_place_of_a_package_is_named(
    name: str, installed: Environment, tmp_path: Path
) -> None:
    """Where Python looks into the working folder first, one in there is refused."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()

    done = installed.run(
        installed.python, "-m", "headgate.cli", "check", cwd=tmp_path, code=2
    )  # fmt: skip

    (line,) = done.stderr.splitlines()
    assert f"{name!r} in " in line
    assert f"got {tmp_path / name};" in line


def test_another_distribution_with_our_name_is_named(wheel: Path, tmp_path: Path) -> None:
    """What it has put in the place of ours lies in the same folder; its name is told."""
    environment = Environment(tmp_path / "environment", wheel)
    other = tmp_path / "django_models-1.0-py3-none-any.whl"
    write_wheel(other, {"models/__init__.py": "MINE = True\n"})
    environment.install(other)

    done = environment.run(environment.headgate, "check", cwd=tmp_path, code=2)

    (line,) = done.stderr.splitlines()
    (site,) = (tmp_path / "environment").glob("lib/python3*/site-packages")
    assert f"{site / 'models'} of django_models;" in line

    # As it is when the other one has been removed, and took along what it believed to be its own.
    (site / "models" / "__init__.py").unlink()
    done = environment.run(environment.headgate, "check", cwd=tmp_path, code=2)

    (line,) = done.stderr.splitlines()
    assert "found it incomplete" in line
    assert "install Headgate's wheel again" in line


def _image_step(folder: Path) -> list[str]:
    """What the Dockerfile's step that installs Headgate calls in a folder, without Docker."""
    text = (folder / "Dockerfile").read_text()
    step = re.search(r"^COPY \. \.\nRUN (.*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    assert step is not None
    (folder / "pip").write_text(
        '#!/bin/sh\necho "$@" >>asked\ncase $1 in wheel) >"$6/new.whl";; esac\n'
    )
    (folder / "pip").chmod(0o755)
    script = step[1].replace("/opt/build/bin/pip", "./pip")
    script = script.replace("/opt/headgate/bin/python -m compileall", "true")
    subprocess.run(["/bin/sh", "-c", script], cwd=folder, check=True)
    return (folder / "asked").read_text().splitlines()


def test_the_image_of_a_written_folder_is_made_from_its_wheel(plant: Path, tmp_path: Path) -> None:
    """Docker gets to see the wheel and the locks, and no secret; nothing is built."""
    for path in plant.rglob("*"):
        if path.is_file() and is_let_through(path.relative_to(plant).as_posix()):
            (tmp_path / path.relative_to(plant)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tmp_path / path.relative_to(plant))

    for name in ("gateway.lock", "build.lock", WHEEL):
        assert (tmp_path / "deploy/image" / name).is_file()
    assert not is_let_through("deploy/compose/secrets/mqtt_devices")
    assert not is_let_through(".env")
    (install,) = _image_step(tmp_path)
    assert install.split()[2] == "install"
    assert install.split()[-1] == f"deploy/image/{WHEEL}"


def test_the_image_of_a_checkout_is_made_from_its_source(tmp_path: Path) -> None:
    """A wheel that lies there is not taken in its place."""
    (tmp_path / "deploy/image").mkdir(parents=True)
    (tmp_path / "deploy/image" / WHEEL).touch()
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(ROOT / "Dockerfile", tmp_path)

    build, install = _image_step(tmp_path)
    assert build.split()[0] == "wheel"
    assert install.split()[-1] == "deploy/image/new.whl"
