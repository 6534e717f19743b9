"""What is on a host that a deployment could leave: files, accounts, units, open ports, access lists, firewall rules."""

import re

from tests.beds.hosts import Host

# What every change of an account leaves beside it.
ACCOUNT_COPIES = re.compile(r"file /etc/(passwd|group|shadow|gshadow|subuid|subgid)- |file /etc/\.pwd\.lock ")
# What a running host writes by itself.
ITSELF = """
    /proc /sys /dev /run /tmp /var/tmp /var/log /var/lib/ceph /var/lib/systemd /var/lib/private /var/cache /root
    /var/lib/dbus /etc/mtab /etc/.updated /var/.updated /home
"""
LOOK = f"""
set -e
cd /
# Files and folders with their owners, without those of the running system.
find / -xdev {" ".join(f"-path {path} -prune -o" for path in ITSELF.split())} -printf 'file %p %u %g %m %l\\n'
getent passwd | cut -d: -f1 | sed 's/^/user /'
getent group | cut -d: -f1 | sed 's/^/group /'
systemctl list-unit-files --no-legend --no-pager | grep -E '^bs-|^ceph|^nftables|^ufw|^firewalld' | sed 's/^/unit /'
systemctl list-units --all --plain --no-legend --no-pager 'bs-*' | sed 's/^/loaded /'
ss --listening --tcp --numeric --no-header | awk '{{print "port", $4}}' | grep -E ':(7765|8080)$' || true
getfacl --recursive --skip-base --absolute-names /etc /images /opt 2>/dev/null | sed 's/^/acl /' || true
find /run/ceph -maxdepth 0 -exec getfacl --skip-base --absolute-names {{}} + 2>/dev/null | sed 's/^/acl /' || true
find /run/ceph -name '*.asok' -exec getfacl --skip-base --absolute-names {{}} + 2>/dev/null | sed 's/^/acl /' || true
ls -d /run/bs-* /var/log/bs-* 2>/dev/null || true
nft list ruleset 2>/dev/null | sed -E 's/packets [0-9]+ bytes [0-9]+//; s/^/rule /' || true
"""


def remains(host: Host) -> list[str]:
    """Return one line for each thing that is on the host, in a stable order."""
    return sorted(line for line in host.output("sh", stdin=LOOK).splitlines() if not ACCOUNT_COPIES.match(line))
