"""Writes what a release is for Python: sdist, wheel, SBOM, and the sums of all of it that lies in the folder.

usage: release.py --out dist      needs a git checkout, setuptools, and what `make wheelhouse` has made
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from description import FIRST_OF_2026, ROOT, package_version, project, version_of_tree
from notes import licence

SUMS = "SHA256SUMS"
BACKEND = "import sys, setuptools.build_meta as backend; getattr(backend, f'build_{sys.argv[1]}')(sys.argv[2])"
WANTED = ("*.whl", "*.tar.gz", "*.cdx.json", "deb/*.deb", "rpm/*.rpm", "wheelhouse/*.tar")


def main() -> int:
    """Write all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheelhouse", type=Path, default=ROOT / "dist/wheelhouse")
    given = parser.parse_args()
    os.umask(0o022)
    os.environ["SOURCE_DATE_EPOCH"] = str(FIRST_OF_2026)
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("bs_agent-*"), *out.glob("bs-agent-*.cdx.json")):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        tree = _tree(Path(folder) / "tree")
        sdist = out / _build("sdist", tree, Path(folder))
        _whole(Path(folder) / sdist.name, tree, sdist)
        unpacked = Path(folder) / "unpacked"
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        wheel = _build("wheel", next(unpacked.iterdir()), Path(folder))
        shutil.copy(Path(folder) / wheel, out / wheel)
    version = version_of_tree()
    listed = json.dumps(_bill(version, given.wheelhouse), indent=1) + "\n"
    (out / f"bs-agent-{version}.cdx.json").write_text(listed)
    found = [path for kind in WANTED for path in sorted(out.glob(kind))]
    # Those of other releases may lie there, too.
    own = [
        path for path in found if re.search(rf"[-_]({re.escape(version)}|{package_version(version)})[-_.]", path.name)
    ]
    sums = "".join(f"{_sum(path)}  {path.relative_to(out)}\n" for path in own)
    (out / SUMS).write_text(sums)
    print(sums, end="")
    return 0


def _tree(target: Path) -> Path:
    """Copy what git knows, as it is now: nothing that lies about gets into a release."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(git, check=True, capture_output=True, text=True, timeout=60).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def _build(kind: str, tree: Path, out: Path) -> str:
    """Let setuptools build an `sdist` or a `wheel`; return its name."""
    before = set(out.iterdir())
    words = [sys.executable, "-c", BACKEND, kind, str(out)]
    done = subprocess.run(words, cwd=tree, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{kind}: {done.stderr}")
    (built,) = set(out.iterdir()) - before
    return built.name


def _whole(made: Path, tree: Path, sdist: Path) -> None:
    """Write the sdist anew: with all that git knows, for those who package or test it, and the same each time."""
    top = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(made) as archive:
        (told,) = [member for member in archive if member.name == f"{top}/PKG-INFO"]
        metadata = archive.extractfile(told)
        files = {"PKG-INFO": metadata.read() if metadata else b""}
    kept = [path for path in tree.rglob("*") if path.is_file() and not _made_by_setuptools(path.relative_to(tree))]
    files |= {str(path.relative_to(tree)): path.read_bytes() for path in kept}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{top}/{name}")
            executable = name in files and (tree / name).exists() and os.access(tree / name, os.X_OK)
            member.size, member.mtime, member.mode = len(content), FIRST_OF_2026, 0o755 if executable else 0o644
            archive.addfile(member, io.BytesIO(content))
    sdist.write_bytes(gzip.compress(packed.getvalue(), 9, mtime=0))


def _made_by_setuptools(path: Path) -> bool:
    return path.parts[0].endswith(".egg-info") or path.parts[0] == "build"


def _bill(version: str, wheelhouse: Path) -> dict[str, Any]:
    """Return what a release holds that others have made, as CycloneDX has it; each wheel with its sum."""
    wheels: dict[str, bytes] = {}
    for archive in sorted(wheelhouse.glob(f"*-{version}.tar")):
        with tarfile.open(archive) as bundle:
            for member in bundle:
                packed = bundle.extractfile(member)
                if member.name.endswith(".whl") and "/wheels/" in member.name and packed:
                    wheels[Path(member.name).name] = packed.read()
    components: dict[str, dict[str, Any]] = {}
    for name, content in sorted(wheels.items()):
        if not name.startswith("bs_agent-"):
            told = _metadata(content)
            component = components.setdefault(f"pkg:pypi/{str(told['Name']).lower()}@{told['Version']}", _library(told))
            digest = {"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}
            component["externalReferences"].append({"type": "distribution", "url": name, "hashes": [digest]})
    own = f"pkg:pypi/bs-agent@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join([own, *components]))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(FIRST_OF_2026, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application", "bom-ref": own, "name": "bs-agent", "version": version, "purl": own,
                "licenses": [{"expression": project().license}],
            },
        },
        "components": [{"bom-ref": purl, "purl": purl, **component} for purl, component in components.items()],
        "dependencies": [{"ref": own, "dependsOn": list(components)}],
    }  # fmt: skip


def _library(told: Message) -> dict[str, Any]:
    return {
        "type": "library",
        "name": str(told["Name"]),
        "version": str(told["Version"]),
        "licenses": [{"expression": licence(told)}],
        "externalReferences": [],
    }


def _metadata(wheel: bytes) -> Message:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        (name,) = [each for each in archive.namelist() if each.count("/") == 1 and each.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
