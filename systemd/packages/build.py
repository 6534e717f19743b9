"""Builds the packages of `packages.toml` from the wheels of `make wheelhouse`: `build.py deb|rpm --out FOLDER`.

Needs dpkg-deb for the one form and rpmbuild for the other, and no network.
"""

import argparse
import gzip
import os
import platform
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import debian
import libraries
import manual
import notes
import red_hat
from description import FIRST_OF_2026, ROOT, Order, Package, packages, version_of_tree

UNITS = ROOT / "systemd"
MEBIBYTE = 1 << 20
SHOWN = 0.2  # MiB; libraries that weigh less are shown together


def main() -> int:
    """Build what the command line asks for, and print what each package weighs, and why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=["deb", "rpm"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheelhouse", type=Path, default=ROOT / "dist/wheelhouse")
    parser.add_argument("--version", default=version_of_tree(), help="another release that is in the wheelhouse")
    parser.add_argument("--machine", default=platform.machine(), help="the machine type of the hosts: x86_64, aarch64")
    parser.add_argument("--quick", action="store_true", help="compress less")
    parser.add_argument("--python", action="append", help="for this Python of the hosts alone, 3.11; may be repeated")
    parser.add_argument("--only", action="append", help="this package; may be repeated")
    given = parser.parse_args()
    os.umask(0o022)
    os.environ["SOURCE_DATE_EPOCH"] = str(FIRST_OF_2026)
    form = debian if given.form == "deb" else red_hat
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder) / "wheels"
        for program in ("bs-agent", "bs-management"):
            with tarfile.open(given.wheelhouse / f"{program}-{given.version}.tar") as archive:
                archive.extractall(Path(folder) / "unpacked", filter="data")
        (Path(folder) / "unpacked/bundle/wheels").rename(wheels)
        pythons = given.python or form.PYTHONS
        order = Order(given.version, given.machine, pythons, wheels, given.out, given.quick)
        for package in packages():
            if given.only and package.name not in given.only:
                continue
            root = Path(folder) / package.name
            notices = _stage(package, order, root)
            libraries.start_with(package, form.PYTHON, root)
            built = form.build(package, order, root, notices)
            _tell(built, libraries.weights(package, root))
    return 0


def _stage(package: Package, order: Order, root: Path) -> Path:
    """Lay out below `root` what a package of either form holds; return the folder of the libraries' notices."""
    notices = libraries.install(package, order, root)
    share = root / "usr/share"
    newest = notes.releases(order.version)[0].date.strftime("%Y-%m-%d")
    (root / "usr/bin").mkdir()
    for name, command in package.commands.items():
        (root / "usr/bin" / name).symlink_to(f"../lib/{package.name}/bin/{name}")
        _page(share, f"{name}.{command.section}", manual.page(package, name, command, order.version, newest))
        for place, script in manual.completions(name, command).items():
            _write(share / place, script)
    if package.configuration:
        file = package.configuration
        _page(share, f"bs-{file.file}.5", manual.page_of_file(package, file, order.version, newest))
        _write(root / "etc/bs-agent" / file.file, (Path(__file__).parent / file.file).read_text())
        for unit in (f"{package.name}.service", f"{package.name}.socket"):
            told = (UNITS / unit).read_text().replace(f"/opt/{package.name}/current/bin/", "/usr/bin/")
            _write(root / "usr/lib/systemd/system" / unit, told)
        for kind in ("sysusers", "tmpfiles"):
            _write(root / f"usr/lib/{kind}.d" / f"{package.name}.conf", (UNITS / f"{package.name}.{kind}").read_text())
    _settle(root)
    return notices


def _page(share: Path, name: str, text: str) -> None:
    section = name.rpartition(".")[2]
    _write(share / f"man/man{section}/{name}.gz", gzip.compress(text.encode(), 9, mtime=0))


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _settle(root: Path) -> None:
    """Give all files the same modes whatever the umask was, and whatever a wheel says."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


def _tell(built: Path, weights: Counter[str]) -> None:
    print(f"{built}: {built.stat().st_size / MEBIBYTE:.1f} MiB, installed {weights.total() / MEBIBYTE:.1f} MiB:")
    small = sum(weight for weight in weights.values() if weight < SHOWN * MEBIBYTE)
    rows = [(name, weight) for name, weight in weights.most_common() if weight >= SHOWN * MEBIBYTE]
    for name, weight in [*rows, ("what is smaller", small)]:
        print(f"  {weight / MEBIBYTE:6.1f}  {name}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
