"""The configuration of the test clusters: small, quick to notice a fault, and all in one folder."""

# Loading every module of the mgr takes longer than starting the rest of the cluster.
UNUSED_MODULES = """
    alerts cephadm cli_api dashboard diskprediction_local influx insights iostat k8sevents localpool mds_autoscaler
    mirroring nfs osd_perf_query osd_support prometheus restful rook selftest snap_schedule stats telegraf
    test_orchestrator zabbix
    """

CONF = """\
[global]
fsid = {fsid}
mon host = {mon_host}
keyring = {folder}/client.keyring
run dir = {folder}
log file = {folder}/$name.log
log to stderr = false
mon cluster log file = {folder}/cluster.log
crash dir = {folder}/crash
exporter sock dir = {folder}
{network}
osd crush chooseleaf type = 0
osd pool default size = {size}
osd pool default min size = 1
auth allow insecure global id reclaim = false
mon allow pool delete = true
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 1
mon warn on pool no redundancy = false
mon mgr beacon grace = 6
mon mgr mkfs grace = 1
mon mgr inactive grace = 1
mon down mkfs grace = 1
mon down uptime grace = 1
mon down added grace = 1
mon tick interval = 1
mon lease = 2
mon pg warn min per osd = 0
mon max pg per osd = 2000
paxos propose interval = 0.1
mon election timeout = 1
{extra}
[mon]
{mon_network}
admin socket = {mon_sockets}/$cluster-$name.asok
mon data = {folder}/mon.$id
[mgr]
admin socket = {sockets}/$cluster-$name.asok
mgr data = {folder}/mgr.$id
keyring = {folder}/mgr.$id/keyring
public addr = {loopback}
mgr disabled modules = {modules}
mgr initial modules =
mgr tick period = 1
mgr stats period = 1
[osd]
admin socket = {sockets}/$cluster-$name.asok
osd data = {folder}/osd.$id
keyring = {folder}/osd.$id/keyring
public addr = {loopback}
cluster addr = {loopback}
osd objectstore = {objectstore}
osd memory target = 939524096
osd mgr report interval = 1
bluestore block size = {osd_bytes}
memstore device bytes = {osd_bytes}
bluestore fsck on mkfs = false
bdev aio max queue depth = 64
"""
