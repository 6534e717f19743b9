"""A staged package as a Debian package: what dpkg-deb needs beside the files."""

import gzip
import hashlib
import subprocess
from pathlib import Path

import libraries
import notes
from description import HERE, Order, Package, package_version, project

PYTHON, PYTHONS = "/usr/bin/python3", ["3.11", "3.12", "3.13"]  # Debian 12, Ubuntu 24.04, Debian 13
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def build(package: Package, order: Order, root: Path, notices: Path) -> Path:
    """Write the package of what is below `root`; return its path."""
    whole = project()
    papers = root / "usr/share/doc" / package.name
    papers.mkdir(parents=True)
    changelog = notes.debian_changelog(package, whole, order.version)
    # "Native" to dpkg: there is no revision of the packaging beside the version of the project.
    (papers / "changelog.gz").write_bytes(gzip.compress(changelog.encode(), 9, mtime=0))
    (papers / "copyright").write_text(notes.copyright_file(package, whole, notices, libraries.SITE))
    overrides = HERE / "debian/lintian-overrides"
    target = root / "usr/share/lintian/overrides" / package.name
    target.parent.mkdir(parents=True)
    target.write_text(overrides.read_text().replace("@PROGRAM@", package.name))
    hook = root / "usr/share/python3/runtime.d" / f"{package.name}.rtupdate"
    hook.parent.mkdir(parents=True)
    hook.write_text(_filled((HERE / "debian/rtupdate").read_text(), package))
    hook.chmod(0o755)
    control = root / "DEBIAN"
    control.mkdir()
    told = HERE / "debian" / ("daemon" if package.configuration else "program")
    for script in SCRIPTS:
        if (told / script).exists():
            (control / script).write_text(_filled((told / script).read_text(), package))
            (control / script).chmod(0o755)
    if package.configuration:
        (control / "conffiles").write_text(f"/etc/bs-agent/{package.configuration.file}\n")
    files = sorted(
        path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and control not in path.parents
    )
    sums = (
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
        for path in files
    )
    (control / "md5sums").write_text("".join(sums))
    architecture = ARCHITECTURES[order.machine]
    installed = sum((path.stat().st_size + 1023) // 1024 for path in files)
    (control / "control").write_text(_control(package, order.version, architecture, installed))
    built = order.out / f"{package.name}_{package_version(order.version)}_{architecture}.deb"
    compress = ["-Zxz", "-z0"] if order.quick else ["-Zxz"]
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", *compress, "--build", root, built],
        check=True,
        capture_output=True,
        timeout=600,
    )
    return built


def _control(package: Package, version: str, architecture: str, installed: int) -> str:
    whole = project()
    depends = "python3 (>= 3.11), python3 (<< 3.14), libc6 (>= 2.34)" + (
        ", procps, systemd" if package.configuration else ""  # the units reload by its kill
    )
    fields = {
        "Package": package.name,
        "Version": package_version(version),
        "Architecture": architecture,
        "Maintainer": f"{whole.maintainer} <{whole.mail}>",
        "Installed-Size": str(installed),
        "Depends": depends,
        **package.deb,
        "Section": "admin",
        "Priority": "optional",
        "Homepage": whole.homepage,
        "Description": package.summary,
    }
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines += [f" {line}" if line else " ." for line in package.description.strip().splitlines()]
    return "\n".join(lines) + "\n"


def _filled(script: str, package: Package) -> str:
    values = {"PROGRAM": package.name, "FIRST_START": package.first_start.replace("`", "\\`")}
    if package.configuration:
        values |= {
            "CONFIGURATION": f"/etc/bs-agent/{package.configuration.file}",
            "PRIVATE": "yes" if package.private_configuration else "",
        }
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return script
