"""The commands by subject, and what they do: text alone, so that `bs-cli --help` starts without the contract.

A test holds them equal to the contract's APIs.
"""

VERBS: dict[str, str] = {
    "storages [CONDITION]...": "The backup storages, the worst first, with reasons and cures.",
    "storages show NAME": "All that is known of one.",
    "storages reconnect NAME": "Connect to its hosts afresh.",
    "storages delete NAME": "Show what a delete cleans on which host, ask for the name, delete.",
    "storages capacity NAME": "How its capacities were: period=hour, day, month or years.",
    "storages events NAME": "What has happened to it, the last first.",
    "agents [CONDITION]...": "The agents, and how their polls go.",
    "mons [CONDITION]...": "The mon hosts of the Ceph storages.",
    "jobs [CONDITION]...": "The last jobs: who called what, and how that went.",
    "events [CONDITION]...": "What has happened, the last first.",
    "debts [CONDITION]...": "What is still owed to agents, since when, and why.",
    "health": "One word: ok (status 0), warning (4), down (5), or unknown (3).",
}
"""Short forms of what is done every day, each with its arguments; NAME is a name or a uuid."""

VERB_CALLS: dict[str, str] = {
    "storages": "QueryBackupStorage",
    "storages show": "QueryBackupStorage",
    "storages reconnect": "ReconnectBackupStorage",
    "storages delete": "DeleteBackupStorage",
    "storages capacity": "GetBackupStorageCapacityHistory",
    "storages events": "QueryEvent",
    "agents": "QueryAgent",
    "mons": "QueryCephBackupStorage",
    "jobs": "QueryJob",
    "events": "QueryEvent",
    "debts": "QueryDebt",
    "health": "",
}
"""The call whose conditions and parameters a verb takes; that of `storages VERB` takes the name first."""

COMMANDS: dict[str, dict[str, str]] = {
    "Backup storage": {
        "AddImageStoreBackupStorage": "Add a directory of a host as a backup storage.",
        "QueryBackupStorage": "Find backup storages.",
        "QueryImageStoreBackupStorage": "Find ImageStores.",
        "QueryCephBackupStorage": "Find Ceph backup storages.",
        "ReconnectBackupStorage": "Connect to the hosts of a backup storage afresh.",
        "ReconnectImageStoreBackupStorage": "Connect to the host of an ImageStore afresh.",
        "ChangeBackupStorageState": "Enable or disable a backup storage.",
        "UpdateBackupStorage": "Change the name or the description of a backup storage.",
        "DeleteBackupStorage": "Delete a backup storage and clean its hosts; images are kept.",
        "GetBackupStorageCapacity": "Sum up the capacities of backup storages.",
        "GetBackupStorageTypes": "List the types of backup storage.",
    },
    "Ceph": {
        "AddCephBackupStorage": "Add a pool of a Ceph cluster as a backup storage.",
        "AddMonToCephBackupStorage": "Add mon hosts to a Ceph backup storage.",
        "RemoveMonFromCephBackupStorage": "Take mon hosts from a Ceph backup storage.",
        "UpdateCephBackupStorageMon": "Change how a mon host is reached.",
    },
    "Zones": {
        "CreateZone": "Create a zone.",
        "QueryZone": "Find zones.",
        "DeleteZone": "Delete a zone; its backup storages are detached and stay.",
        "AttachBackupStorageToZone": "Attach a backup storage to a zone.",
        "DetachBackupStorageFromZone": "Detach a backup storage from a zone.",
    },
    "Tags": {
        "CreateSystemTag": "Give a system tag to a resource.",
        "QuerySystemTag": "Find system tags.",
        "CreateUserTag": "Give a user tag to a resource.",
        "QueryUserTag": "Find user tags.",
        "DeleteTag": "Delete a tag of either kind.",
    },
    "Agents": {
        "QueryAgent": "Find agents, and how their polls go.",
        "QueryDebt": "Find the clean-ups and forgettings that are still owed to agents.",
    },
    "What has happened": {
        "GetBackupStorageCapacityHistory": "Show how the capacities of a backup storage were, and when it is full.",
        "QueryEvent": "Find what has happened, when, to what, and by whom.",
        "QueryJob": "Find jobs: who called what, and how that went.",
    },
    "Accounts and sessions": {
        "LogInByAccount": "Open a session.",
        "LogOut": "End a session; an unknown one too.",
        "ValidateSession": "Tell whether a session can be used.",
        "QuerySession": "Find open sessions, without their secrets.",
        "RevokeSession": "End a session that QuerySession shows.",
        "QueryAccount": "Find accounts.",
        "UpdateAccount": "Change the password of an account, and end its other sessions.",
        "CreateAccessKey": "Create a key that signs requests.",
        "QueryAccessKey": "Find access keys.",
        "DeleteAccessKey": "Delete an access key.",
    },
}
