"""Backup storages for the tests, and a plain reading of conditions over them."""

from typing import Any

from bs_agent.contract.query import Condition, Operator

STORE = {
    "uuid": "1ab3b836a88342e1bbc1b1a17d092f0f",
    "name": "image-store",
    "url": "/zstack_imagestore",
    "description": "",
    "totalCapacity": 9992857976832,
    "availableCapacity": 4931431059456,
    "type": "ImageStoreBackupStorage",
    "state": "Enabled",
    "status": "Connected",
    "createDate": "Apr 11, 2018 2:50:54 PM",
    "lastOpDate": "Dec 13, 2019 7:32:49 PM",
    "attachedZoneUuids": ["140ebc2fbdb74ae197323a69d432f25e"],
    "hostname": "172.20.1.115",
    "username": "root",
    "sshPort": 22,
}
CEPH = {
    "uuid": "eed424abee694bcda5a5e414a61ea3d3",
    "name": "ceph-bs",
    "url": "not used",
    "totalCapacity": 305863802880,
    "availableCapacity": 297500737536,
    "type": "Ceph",
    "state": "Enabled",
    "status": "Disconnected",
    "statusReason": {"code": "NoQuorum", "details": "1 of 3 mons answers"},
    "createDate": "Dec 14, 2019 9:46:05 AM",
    "lastOpDate": "Dec 14, 2019 11:30:40 AM",
    "attachedZoneUuids": [],
    "fsid": "d53902bc-ff50-4d08-8769-9d83448478d3",
    "poolName": "bak-t-eed424abee694bcda5a5e414a61ea3d3",
    "mons": [],
}


def matches(entry: dict[str, Any], condition: Condition) -> bool:
    """Tell whether a condition holds; the operators that the tests use, and no others."""
    value = entry.get(condition.field)
    match condition.operator:
        case Operator.EQUAL:
            return str(value) == condition.value
        case Operator.NOT_EQUAL:
            return str(value) != condition.value
        case Operator.IN:
            return str(value) in condition.values
        case Operator.LIKE:
            return condition.value.strip("%") in str(value)
        case Operator.GREATER:
            return value is not None and int(value) > int(condition.value)
        case Operator.IS_NULL:
            return value is None
        case Operator.NOT_NULL:
            return value is not None
    raise AssertionError(f"no test uses {condition.operator}")
