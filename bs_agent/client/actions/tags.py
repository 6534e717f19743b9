"""The SDK's actions on tags. Tags may also be given inline: `action.userTags = [...]` of any action."""

from typing import Literal

from bs_agent.client.actions.action import Action, QueryAction
from bs_agent.contract import calls_tag as calls
from bs_agent.contract.declaration import Reply


class CreateSystemTagAction(Action[calls.SystemTagReply]):
    """Give a system tag to a resource."""

    api = calls.CREATE_SYSTEM_TAG
    resourceType: Literal["BackupStorageVO", "ZoneVO"]
    resourceUuid: str
    tag: str


class QuerySystemTagAction(QueryAction[calls.QuerySystemTagReply]):
    """Find system tags."""

    api = calls.QUERY_SYSTEM_TAG


class CreateUserTagAction(Action[calls.UserTagReply]):
    """Give a user tag to a resource."""

    api = calls.CREATE_USER_TAG
    resourceType: Literal["BackupStorageVO", "ZoneVO"]
    resourceUuid: str
    tag: str


class QueryUserTagAction(QueryAction[calls.QueryUserTagReply]):
    """Find user tags."""

    api = calls.QUERY_USER_TAG


class DeleteTagAction(Action[Reply]):
    """Delete a tag of either kind."""

    api = calls.DELETE_TAG
    uuid: str
