"""The calls on tags. They may also be given inline, with any call that creates or changes a resource."""

from typing import Literal

from pydantic import Field

from bs_agent.contract.declaration import Api, OneResource, Parameters, QueryParameters, QueryReply, Reply
from bs_agent.contract.inventory import SystemTagInventory, UserTagInventory
from bs_agent.contract.tags import KeptTag, UserTag
from bs_agent.contract.uuids import Uuid


class CreateTagParameters(Parameters):
    """A new tag of a resource."""

    resourceType: Literal["BackupStorageVO", "ZoneVO"]
    resourceUuid: Uuid = Field(description="The UUID of the resource.")
    tag: str


class CreateSystemTagParameters(CreateTagParameters):
    """A new system tag of a resource."""

    tag: KeptTag


class CreateUserTagParameters(CreateTagParameters):
    """A new user tag of a resource."""

    tag: UserTag


class SystemTagReply(Reply):
    """One system tag."""

    inventory: SystemTagInventory


class UserTagReply(Reply):
    """One user tag."""

    inventory: UserTagInventory


class QuerySystemTagReply(QueryReply):
    """The system tags that were found."""

    inventories: list[SystemTagInventory] | None = None


class QueryUserTagReply(QueryReply):
    """The user tags that were found."""

    inventories: list[UserTagInventory] | None = None


CREATE_SYSTEM_TAG = Api(
    "CreateSystemTag", "POST", ("/system-tags",), CreateSystemTagParameters, SystemTagReply,
    "Give a system tag to a resource.", body_key="params", long=True,
)  # fmt: skip
QUERY_SYSTEM_TAG = Api(
    "QuerySystemTag", "GET", ("/system-tags", "/system-tags/{uuid}"), QueryParameters, QuerySystemTagReply,
    "Find system tags.", queries=SystemTagInventory,
)  # fmt: skip
CREATE_USER_TAG = Api(
    "CreateUserTag", "POST", ("/user-tags",), CreateUserTagParameters, UserTagReply,
    "Give a user tag to a resource.", body_key="params", long=True,
)  # fmt: skip
QUERY_USER_TAG = Api(
    "QueryUserTag", "GET", ("/user-tags", "/user-tags/{uuid}"), QueryParameters, QueryUserTagReply,
    "Find user tags.", queries=UserTagInventory,
)  # fmt: skip
DELETE_TAG = Api(
    "DeleteTag", "DELETE", ("/tags/{uuid}",), OneResource, Reply, "Delete a tag of either kind.", long=True,
)  # fmt: skip

TAG_CALLS = (CREATE_SYSTEM_TAG, QUERY_SYSTEM_TAG, CREATE_USER_TAG, QUERY_USER_TAG, DELETE_TAG)
