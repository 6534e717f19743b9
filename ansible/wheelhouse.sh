#!/bin/sh
# Builds what an air-gapped site installs from: dist/wheelhouse/{bs-agent,bs-management}-VERSION.tar with all wheels
# and the systemd units, for hosts with any of the given Python versions. Only this step needs a package index.
# usage: ansible/wheelhouse.sh [PYTHON-VERSION...]      default: 3.11 3.12 3.13
# PYTHON names the Python with pip that builds (default python3), ARCH the machine type of the hosts, OUT another folder
# for the archives, CACHE one for downloaded wheels.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 3.11 3.12 3.13
python=${PYTHON:-python3}
arch=${ARCH:-$(uname -m)}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' bs_agent/__init__.py)
work=build/wheelhouse
cache=${CACHE:-$work}
out=${OUT:-dist/wheelhouse}
export SOURCE_DATE_EPOCH=1767225600  # the same files make the same archive
mkdir -p "$work" "$cache" "$out"

rm -rf "$work/own" build/lib build/bdist.*
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/own" .

for program in agent management; do
    case $program in
        agent) extras=agent ;;
        management) extras=management,postgresql,cli ;;
    esac
    # Dependencies are downloaded again when what is asked for changes, and a week later.
    wanted=$(cat setup.cfg ansible/wheelhouse.sh | sha256sum | cut -c1-12)-$arch-$(echo "$*" | tr ' ' '-')-$(($(date +%s) / 604800))
    wheels=$cache/$program-$wanted
    if [ ! -d "$wheels" ]; then
        rm -rf "$cache/$program-"*
        for target in "$@"; do
            "$python" -m pip download --quiet --only-binary=:all: --implementation cp --python-version "$target" \
                --platform "manylinux_2_34_$arch" --platform "manylinux_2_28_$arch" --platform "manylinux_2_17_$arch" \
                --platform "manylinux2014_$arch" --find-links "$work/own" --dest "$wheels.partial" \
                pip "bs-agent[$extras]==$version"
        done
        rm "$wheels.partial"/bs_agent-*.whl
        mv "$wheels.partial" "$wheels"
    fi
    rm -rf "$work/tree"
    mkdir -p "$work/tree/bundle/wheels"
    cp "$wheels"/*.whl "$work/own"/*.whl "$work/tree/bundle/wheels/"
    mkdir "$work/tree/systemd"
    cp "systemd/bs-$program."* "$work/tree/systemd/"
    mv "$work/tree/bundle/wheels"/pip-*.whl "$work/tree/bundle/pip.whl"
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --directory "$work/tree" --create --file "$out/bs-$program-$version.tar" bundle systemd
    (cd "$out" && sha256sum "bs-$program-$version.tar" > "bs-$program-$version.tar.sha256")
done
echo "$version" > "$out/version"
ls -l "$out"
