"""Why a host or a storage is not well: every reason there is, what it means and what cures it.

A reason travels in reports (agent to management node), in errors and in inventories, so it is named once, here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from bs_agent.contract.bounds import Details


class ReasonCode(StrEnum):
    """The names of the reasons."""

    NO_ROUTE = "NoRoute"
    SSH_AUTH_FAILED = "SshAuthFailed"
    SSH_HOST_KEY_CHANGED = "SshHostKeyChanged"
    SSH_FAILED = "SshFailed"
    AGENT_NOT_INSTALLED = "AgentNotInstalled"
    AGENT_NOT_ENROLLED = "AgentNotEnrolled"
    AGENT_START_FAILED = "AgentStartFailed"
    AGENT_UNREACHABLE = "AgentUnreachable"
    AGENT_TIMEOUT = "AgentTimeout"
    AGENT_UNAUTHORIZED = "AgentUnauthorized"
    AGENT_FAULT = "AgentFault"
    REPORT_INVALID = "ReportInvalid"
    CERTIFICATE_CHANGED = "CertificateChanged"
    AGENT_CLONED = "AgentCloned"
    UNOBSERVED = "Unobserved"
    STORAGE_UNKNOWN = "StorageUnknown"
    STORAGE_BUSY = "StorageBusy"
    JOURNAL_UNAVAILABLE = "JournalUnavailable"
    COMMAND_CONFLICT = "CommandConflict"
    COMMAND_OUTDATED = "CommandOutdated"
    COMMAND_INTERRUPTED = "CommandInterrupted"
    PROBE_TIMEOUT = "ProbeTimeout"
    WORKER_CRASHED = "WorkerCrashed"
    DIRECTORY_MISSING = "DirectoryMissing"
    DIRECTORY_NOT_ALLOWED = "DirectoryNotAllowed"
    DIRECTORY_DENIED = "DirectoryDenied"
    DIRECTORY_HUNG = "DirectoryHung"
    DIRECTORY_FAULT = "DirectoryFault"
    DIRECTORY_UNMOUNTED = "DirectoryUnmounted"
    DIRECTORY_FULL = "DirectoryFull"
    INODES_EXHAUSTED = "InodesExhausted"
    READ_ONLY = "ReadOnly"
    MARKER_MISSING = "MarkerMissing"
    MARKER_FOREIGN = "MarkerForeign"
    SERVICE_DOWN = "ServiceDown"
    LIBRADOS_MISSING = "LibradosMissing"
    CEPH_CONF_INVALID = "CephConfInvalid"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    AUTH_FAILED = "AuthFailed"
    NO_QUORUM = "NoQuorum"
    MON_OUT_OF_QUORUM = "MonOutOfQuorum"
    MON_ADDR_CHANGED = "MonAddrChanged"
    FSID_MISMATCH = "FsidMismatch"
    POOL_MISSING = "PoolMissing"
    POOL_REPLACED = "PoolReplaced"
    POOL_FOREIGN = "PoolForeign"
    POOL_FULL = "PoolFull"
    POOL_WITHOUT_OSDS = "PoolWithoutOsds"
    CLUSTER_FULL = "ClusterFull"
    MGR_DOWN = "MgrDown"
    CEPH_FAULT = "CephFault"
    WRITE_PROBE_FAILED = "WriteProbeFailed"


class Reason(BaseModel):
    """One reason with what was seen: safe to show, never a secret.

    One that only a newer peer knows is taken for a fault that may be grave.
    """

    model_config = ConfigDict(frozen=True)

    code: ReasonCode
    details: Details

    @model_validator(mode="before")
    @classmethod
    def _take_a_newer_one(cls, value: Any) -> Any:  # noqa: ANN401 RUF100  whatever a peer has sent
        if isinstance(value, dict) and isinstance(code := value.get("code"), str) and code not in _NAMES:
            return {"code": ReasonCode.AGENT_FAULT, "details": f"{code[:64]}: {value.get('details')}"}
        return value


_NAMES = frozenset(ReasonCode)


@dataclass(frozen=True, slots=True)
class ReasonText:
    """What a reason means, what to do, and whether the storage cannot be used while it holds."""

    meaning: str
    cure: str
    blocking: bool = True


REASONS: dict[ReasonCode, ReasonText] = {
    ReasonCode.NO_ROUTE: ReasonText(
        "The host, or its SSH port, cannot be reached over the network.",
        "Check the host name, the network to the host, and that sshd listens on the SSH port; with a code of "
        "`bs-agent enroll` no SSH is needed.",
    ),
    ReasonCode.SSH_AUTH_FAILED: ReasonText(
        "The host refused the SSH user name or password.",
        "Give the right user name and password with the add call; log in with them by hand to be sure.",
    ),
    ReasonCode.SSH_HOST_KEY_CHANGED: ReasonText(
        "The host showed another SSH host key than the pinned one.",
        "If the host was rebuilt on purpose, reconnect with the system tag `sshHostKey::<new fingerprint>`; "
        "else somebody may sit in between.",
    ),
    ReasonCode.SSH_FAILED: ReasonText(
        "The SSH session to the host failed.", "Read the details; try the same by hand: `ssh -p PORT USER@HOST`."
    ),
    ReasonCode.AGENT_NOT_INSTALLED: ReasonText(
        "There is no bs-agent on the host.", "Install it on the host, then add or reconnect again."
    ),
    ReasonCode.AGENT_NOT_ENROLLED: ReasonText(
        "There is neither an enrolment code nor an SSH log-in for the host.",
        "Run `bs-agent enroll` on the host and pass its code in the system tag `agentEnrollment::<code>`, "
        "or give user name and password.",
    ),
    ReasonCode.AGENT_START_FAILED: ReasonText(
        "The agent's service could not be started over SSH.",
        "Read the service's log on the host (`journalctl -u bs-agent`).",
    ),
    ReasonCode.AGENT_UNREACHABLE: ReasonText(
        "Nothing answers on the agent's port.", "Start the agent, and let the management node reach its port."
    ),
    ReasonCode.AGENT_TIMEOUT: ReasonText(
        "The agent did not answer before the deadline.", "Look at the load of the host and at the agent's log."
    ),
    ReasonCode.AGENT_UNAUTHORIZED: ReasonText(
        "The agent does not know the management node's token.",
        "Run `bs-agent enroll` on the host and add or reconnect with its new code as a system tag (an add that has "
        "failed has used its code up), or with an SSH log-in.",
    ),
    ReasonCode.AGENT_FAULT: ReasonText(
        "The agent answered with an error of its own.", "Read the agent's log on the host."
    ),
    ReasonCode.REPORT_INVALID: ReasonText(
        "A part of the agent's report is not within the bounds of the protocol, or the database refused it.",
        "Look at what the details name on the host; numbers shown are the last good ones until then.",
        blocking=False,
    ),
    ReasonCode.CERTIFICATE_CHANGED: ReasonText(
        "The agent showed another certificate than the pinned one.",
        "If its state directory was made anew on purpose, reconnect with an SSH log-in or a new enrolment code.",
    ),
    ReasonCode.AGENT_CLONED: ReasonText(
        "Two machines answer with one certificate: one was cloned from the other.",
        "On the clone, stop the agent, remove its state directory (it holds the certificate and the journal), start it "
        "and enrol it anew.",
    ),
    ReasonCode.STORAGE_UNKNOWN: ReasonText(
        "The agent does not know this backup storage.", "Reconnect the backup storage."
    ),
    ReasonCode.STORAGE_BUSY: ReasonText(
        "Another operation on this backup storage is running.", "Wait for it to end, then try again."
    ),
    ReasonCode.JOURNAL_UNAVAILABLE: ReasonText(
        "The agent cannot write its journal, so it accepts no commands.",
        "Make room or make writable the agent's state directory; it recovers by itself.",
    ),
    ReasonCode.COMMAND_CONFLICT: ReasonText(
        "The command's uuid was used before with another body.", "Use a new uuid for a new command."
    ),
    ReasonCode.UNOBSERVED: ReasonText(
        "No management node has asked the host for a while: how it is now is not known.",
        "Nothing: it is asked within a poll interval. If this stays, see that a management node runs.",
        blocking=False,
    ),
    ReasonCode.COMMAND_OUTDATED: ReasonText(
        "The command belongs to an operation that a newer one has overtaken: the agent did nothing.",
        "Look at the backup storage; try again if it is not as you want it.",
    ),
    ReasonCode.COMMAND_INTERRUPTED: ReasonText(
        "The command was cut short by a restart of the agent.", "Send it again under a new uuid."
    ),
    ReasonCode.PROBE_TIMEOUT: ReasonText(
        "The storage did not answer the probe before the deadline.",
        "Look at the storage and the network to it.",
        blocking=False,
    ),
    ReasonCode.WORKER_CRASHED: ReasonText(
        "The probe worker died and is being started again.",
        "Nothing, if it passes; else read the agent's log.",
        blocking=False,
    ),
    ReasonCode.DIRECTORY_MISSING: ReasonText(
        "The directory does not exist.", "Mount the disk or create the directory."
    ),
    ReasonCode.DIRECTORY_NOT_ALLOWED: ReasonText(
        "The path cannot be a backup storage.", "Give the absolute path of a directory other than `/`."
    ),
    ReasonCode.DIRECTORY_DENIED: ReasonText(
        "The agent's user may not use the directory.", "Give the agent's user read and write access to the directory."
    ),
    ReasonCode.DIRECTORY_HUNG: ReasonText(
        "The directory's file system does not answer.", "Look at the mount: a network file system's server may be gone."
    ),
    ReasonCode.DIRECTORY_FAULT: ReasonText(
        "The directory's file system answers with errors.", "Look at the kernel's log of the host and at the disk."
    ),
    ReasonCode.DIRECTORY_UNMOUNTED: ReasonText(
        "The host has unmounted the directory's disk, but the agent's service holds on to it.",
        "Restart bs-agent once the right disk is mounted. Let ReadWritePaths of its unit name the mount point instead "
        "of a directory below it, and this does not happen.",
    ),
    ReasonCode.DIRECTORY_FULL: ReasonText(
        "The file system has no room left.", "Remove images or make the file system larger.", blocking=False
    ),
    ReasonCode.INODES_EXHAUSTED: ReasonText(
        "The file system has room but no inodes left.",
        "Remove files, or make a file system with more inodes.",
        blocking=False,
    ),
    ReasonCode.READ_ONLY: ReasonText(
        "The file system is mounted read-only.",
        "Look for disk errors in the kernel's log, then mount it writable again.",
        blocking=False,
    ),
    ReasonCode.MARKER_MISSING: ReasonText(
        "The marker file is missing: is the disk mounted?",
        "Mount the disk; if the marker was removed on purpose, reconnect.",
    ),
    ReasonCode.MARKER_FOREIGN: ReasonText(
        "The directory belongs to another backup storage.",
        "Mount the right disk, or delete the other backup storage first; if there is none of the uuid that is named "
        "(its add was cut short), add it with that uuid as `resourceUuid`.",
    ),
    ReasonCode.SERVICE_DOWN: ReasonText(
        "The service that serves the images does not answer on its port.",
        "Start the service on the host.",
        blocking=False,
    ),
    ReasonCode.LIBRADOS_MISSING: ReasonText(
        "The distribution's Python has no rados module.", "Install the package python3-rados on the host."
    ),
    ReasonCode.CEPH_CONF_INVALID: ReasonText(
        "The Ceph configuration or keyring cannot be read.",
        "Read the details; check `[ceph]` in agent.toml, the files it names and their rights.",
    ),
    ReasonCode.CLUSTER_UNREACHABLE: ReasonText(
        "The Ceph cluster does not answer.", "Look at the mons and at the network between them and this host."
    ),
    ReasonCode.AUTH_FAILED: ReasonText(
        "This host has no keyring that the Ceph cluster accepts.",
        "Put the keyring of the configured client on the host again.",
    ),
    ReasonCode.NO_QUORUM: ReasonText("The mons have no quorum.", "Start the mons that are down."),
    ReasonCode.MON_OUT_OF_QUORUM: ReasonText(
        "The mon of this host is not in the quorum.", "Start the mon, look at its log and its clock."
    ),
    ReasonCode.MON_ADDR_CHANGED: ReasonText(
        "The mon's address is not the one that was added.",
        "Update the mon of the backup storage, or give the host its address again.",
    ),
    ReasonCode.FSID_MISMATCH: ReasonText(
        "The cluster is not the one that was added: its fsid differs.",
        "Point the host at the right cluster; nothing was changed on this one.",
    ),
    ReasonCode.POOL_MISSING: ReasonText(
        "The cluster has no pool of this name.",
        "Give the pool its name back if it was renamed, or add the backup storage with the right pool name. What was "
        "removed does not come back: a new pool of its name is another one.",
    ),
    ReasonCode.POOL_REPLACED: ReasonText(
        "The pool that was added is gone or was renamed, and another pool has its name.",
        "Give the right pool its name back; if the other one is to take its place, delete the backup storage and add "
        "it anew. Nothing was changed on the other pool.",
    ),
    ReasonCode.POOL_FOREIGN: ReasonText(
        "The pool belongs to another backup storage, or this backup storage to another pool.",
        "Name the right pool, or delete the other backup storage first.",
    ),
    ReasonCode.POOL_FULL: ReasonText(
        "The pool is full.", "Remove images, raise the quota or add OSDs.", blocking=False
    ),
    ReasonCode.POOL_WITHOUT_OSDS: ReasonText(
        "No OSD fits the CRUSH rule of the pool, or those that fit are out or have no weight.",
        "Add OSDs of the rule's root and device class or take them in again, or give the pool another rule.",
        blocking=False,
    ),
    ReasonCode.CLUSTER_FULL: ReasonText("OSDs of the cluster are full.", "Add OSDs or remove data.", blocking=False),
    ReasonCode.MGR_DOWN: ReasonText(
        "No ceph-mgr is active (MGR_DOWN): the numbers are old.", "Start a ceph-mgr.", blocking=False
    ),
    ReasonCode.CEPH_FAULT: ReasonText(
        "A Ceph command failed.", "Read the details and the cluster's log.", blocking=False
    ),
    ReasonCode.WRITE_PROBE_FAILED: ReasonText(
        "The write probe could not write and remove its object.",
        "Look at the cluster's health: OSDs may be down.",
        blocking=False,
    ),
}
