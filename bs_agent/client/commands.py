"""The commands by subject, for the help: names alone, so that `bs-cli --help` starts without the contract.

A test holds them equal to the contract's APIs.
"""

COMMANDS: dict[str, tuple[str, ...]] = {
    "Sessions": ("LogInByAccount", "LogOut"),
    "Backup storage": (
        "QueryBackupStorage",
        "AddImageStoreBackupStorage",
        "ReconnectBackupStorage",
        "DeleteBackupStorage",
    ),
}
