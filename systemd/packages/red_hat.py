"""A staged package as an RPM: the spec that rpmbuild wants, and its scriptlets."""

import shutil
import subprocess
from pathlib import Path

import notes
from description import HERE, ROOT, Order, Package, package_version, project

# RHEL 9.4 and later have it as a package beside their own 3.9, RHEL 10 as its own.
PYTHON, PYTHONS = "/usr/bin/python3.12", ["3.12"]
SCRIPTLETS = ("pre", "post", "preun", "postun", "posttrans")
SPEC = """%global __os_install_post %{{nil}}
%global _build_id_links none
%global debug_package %{{nil}}
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1
%global _buildhost reproducible
%global _binary_payload {payload}
Name: {name}
Version: {version}
Release: 1
Summary: {summary}
License: {license}
URL: {homepage}
Packager: {packager}
AutoReqProv: no
{requires}

%description
{description}

%install
cp -a {root}/. %{{buildroot}}

{scriptlets}

%files
{files}

%changelog
{changelog}
"""


def build(package: Package, order: Order, root: Path, notices: Path) -> Path:
    """Write the package of what is below `root`; return its path."""
    whole = project()
    texts = root / "usr/share/licenses" / package.name
    texts.mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", texts / "LICENSE")
    for library in sorted(notices.iterdir()):
        for text in library.glob("*.text"):
            shutil.copy(text, texts / f"{library.name}-{text.stem}")
    spec = root.with_name(f"{package.name}.spec")
    requires = {"Requires": ["python3.12", "glibc >= 2.34"], **package.rpm}
    if package.configuration:
        requires["Requires"] += ["systemd", "util-linux"]  # the units reload by its kill
        requires |= {"Requires(pre)": ["systemd"], "Requires(post)": ["systemd"], "Requires(preun)": ["systemd"]}
    spec.write_text(
        SPEC.format(
            payload="w1.zstdio" if order.quick else "w19.zstdio",
            name=package.name,
            version=package_version(order.version),
            summary=package.summary[0].upper() + package.summary[1:],
            license=" AND ".join(f"({name})" if " OR " in name else name for name in notes.licences(notices)),
            homepage=whole.homepage,
            packager=f"{whole.maintainer} <{whole.mail}>",
            requires="\n".join(f"{kind}: {name}" for kind, names in requires.items() for name in names),
            description=package.description.strip(),
            root=root,
            scriptlets=_scriptlets(package),
            files="\n".join(_files(package, root)),
            changelog=notes.rpm_changelog(whole, order.version),
        )
    )
    top = root.with_name(f"{package.name}-rpmbuild")
    define = ["--define", f"_topdir {top}", "--define", f"_rpmdir {top}"]
    target = ["--target", f"{order.machine}-redhat-linux"]
    done = subprocess.run(
        ["rpmbuild", "-bb", *define, *target, spec], check=False, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise RuntimeError(f"rpmbuild: {done.stderr}")
    (made,) = top.rglob("*.rpm")
    return Path(shutil.move(made, order.out / made.name))


def _scriptlets(package: Package) -> str:
    told = HERE / "rpm" / ("daemon" if package.configuration else "program")
    bodies = [(kind, told / kind) for kind in SCRIPTLETS if (told / kind).exists()]
    return "\n\n".join(f"%{kind}\n{_filled(path.read_text(), package)}" for kind, path in bodies)


def _filled(script: str, package: Package) -> str:
    values = {"PROGRAM": package.name, "FIRST_START": package.first_start.replace("`", "\\`")}
    if package.configuration:
        users = (ROOT / "systemd" / f"{package.name}.sysusers").read_text().strip()
        values |= {"CONFIGURATION": f"/etc/bs-agent/{package.configuration.file}", "USERS": users}
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return script.replace("%", "%%")


def _files(package: Package, root: Path) -> list[str]:
    """Return what the package owns: its own folders, and files in those of others."""
    own = [f"/usr/lib/{package.name}", f"/usr/share/licenses/{package.name}"]
    files = [f"/{path.relative_to(root)}" for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file()]
    lines = ["%defattr(-,root,root,-)", *own]
    lines += ["%dir /etc/bs-agent"] if package.configuration else []
    for name in files:
        if name.startswith("/etc/"):
            mode = f"%attr(0640,root,{package.name}) " if package.private_configuration else ""
            lines.append(f"%config(noreplace) {mode}{name}")
        elif not name.startswith(tuple(f"{folder}/" for folder in own)):
            lines.append(name)
    return lines
