"""What each operation of the probe program returns, as the agent takes it: anything else is no answer."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter

from bs_agent.contract.bounds import Bytes, Count, Seconds

_Number = Annotated[int, Field(ge=-(2**63), lt=2**64)]
_Errno = Annotated[int, Field(ge=0, lt=2**31)]


class Place(BaseModel):
    """The file system that a directory is on, as it is remembered."""

    realPath: str
    mount: str
    follows: bool
    fsid: _Number
    device: _Number
    readOnly: bool


class Usage(BaseModel):
    """What a file system holds, in bytes and inodes."""

    totalCapacity: Bytes
    availableCapacity: Bytes
    totalInodes: Count
    availableInodes: Count
    readOnly: bool
    follows: bool


class Objects(BaseModel):
    """Whether a pool holds our object, and whether it holds others."""

    ours: bool
    others: bool


FORMS: dict[str, TypeAdapter[Any]] = {
    "ceph_ask": TypeAdapter(list[tuple[_Errno, str]]),
    "ceph_objects": TypeAdapter(Objects),
    "ceph_remove": TypeAdapter(bool),
    "ceph_write": TypeAdapter(Seconds),
    "directory_connect": TypeAdapter(Place),
    "directory_usage": TypeAdapter(Usage),
    "directory_leftovers": TypeAdapter(list[str]),
    "directory_remove": TypeAdapter(bool),
}


def value_of(operation: str, said: Any) -> Any:  # noqa: ANN401 RUF100  JSON, and as JSON it is returned
    """Return what an operation has returned, as far as it is of its form; one that has none returns anything.

    Raises:
        ValidationError: it is of another form.
    """
    if operation not in FORMS:
        return said
    form = FORMS[operation]
    return form.dump_python(form.validate_python(said))
