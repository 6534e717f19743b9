#!/bin/sh
# Builds the Debian packages bs-agent and bs-management from the archives of `make wheelhouse`; needs dpkg-deb only.
# usage: systemd/deb/build.sh      writes dist/deb/*.deb
# WHEELHOUSE names a folder that is filled already, VERSION another release in it, OUT another folder for the packages.
set -eu
cd "$(dirname "$0")/../.."
version=${VERSION:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' bs_agent/__init__.py)}
wheelhouse=${WHEELHOUSE:-dist/wheelhouse}
out=${OUT:-dist/deb}
[ -n "${WHEELHOUSE:-}" ] || ansible/wheelhouse.sh
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1767225600  # the same archive makes the same package

# A pre-release comes before its release: 1.0rc1 is 1.0~rc1 to dpkg.
deb_version=$(echo "$version" | sed 's/\(a\|b\|rc\|\.dev\)\([0-9]\)/~\1\2/; s/~\./~/')

for program in bs-agent bs-management; do
    case $program in
        bs-agent)
            summary="Agent of backup storages: ImageStore directories and Ceph pools"
            more="Recommends: python3-rados, acl"
            requirement="bs-agent[agent]" toml=agent commands=bs-agent autostart=yes ;;
        bs-management)
            summary="Management node of backup storages, and its command line client"
            more="Suggests: postgresql"
            requirement="bs-agent[management,postgresql,cli]" toml=management commands="bs-management bs-cli"
            # Somebody has to choose a password before the first start.
            autostart=no ;;
    esac
    tree=$work/$program
    share=$tree/usr/share/$program
    mkdir -p "$share" "$tree/usr/lib/systemd/system" "$tree/usr/lib/sysusers.d" "$tree/usr/bin" \
        "$tree/usr/share/doc/$program" "$tree/etc/bs-agent" "$tree/DEBIAN"
    tar --directory "$share" --extract --file "$wheelhouse/$program-$version.tar"
    mv "$share/systemd/$program.service" "$share/systemd/$program.socket" "$tree/usr/lib/systemd/system/"
    mv "$share/systemd/$program.sysusers" "$tree/usr/lib/sysusers.d/$program.conf"
    rmdir "$share/systemd"
    cp "$wheelhouse/$program-$version.tar.sha256" "$share/origin"
    for command in $commands; do
        ln -s "/opt/$program/current/bin/$command" "$tree/usr/bin/$command"
    done
    cp LICENSE "$tree/usr/share/doc/$program/copyright"
    cp "systemd/deb/$toml.toml" "$tree/etc/bs-agent/"
    echo "/etc/bs-agent/$toml.toml" > "$tree/DEBIAN/conffiles"
    for script in postinst prerm postrm; do
        sed -e "s/@PROGRAM@/$program/g" -e "s/@VERSION@/$version/g" -e "s/@REQUIREMENT@/$requirement/g" \
            -e "s/@TOML@/$toml/g" -e "s/@AUTOSTART@/$autostart/g" "systemd/deb/$script" > "$tree/DEBIAN/$script"
    done
    chmod -R u=rwX,go=rX "$tree"
    chmod 0755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm" "$tree/DEBIAN/postrm"
    cat > "$tree/DEBIAN/control" <<CONTROL
Package: $program
Version: $deb_version
Architecture: ${ARCHITECTURE:-$(dpkg --print-architecture)}
Maintainer: The bs-agent authors <bs-agent@localhost>
Installed-Size: $(du --summarize --block-size=1K "$tree" | cut -f1)
Depends: python3 (>= 3.11), systemd
$more
Section: admin
Priority: optional
Description: $summary
 Runs in a virtual environment of its own below /opt/$program, which is made when the
 package is configured, from the wheels in it: no network is needed.
CONTROL
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort --zero-terminated \
        | xargs --null md5sum > DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zgzip --build "$tree" "$out/${program}_${deb_version}_${ARCHITECTURE:-$(dpkg --print-architecture)}.deb"
done
