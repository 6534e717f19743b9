"""What a declaration of an API consists of: parameters, reply, path. The calls themselves stand in `calls_*.py`."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from bs_agent.contract.inventory import Inventory
from bs_agent.contract.tags import SystemTag, UserTag, refuse_secret
from bs_agent.contract.uuids import Uuid

PREFIX = "/zstack/v1"

_MAY_HOLD_SECRETS = frozenset({"systemTags", "monUrls"})
"""Parameters whose types look for themselves where in them a secret may stand."""


class Parameters(BaseModel):
    """The parameters of an API; tags go with every one. Unknown ones are ignored: newer clients send more.

    All that is wrong with them is found here, before a call does anything.
    """

    model_config = ConfigDict(extra="ignore", validate_by_name=True, defer_build=True)

    systemTags: list[SystemTag] = Field(default_factory=list, description="The system tags.", max_length=100)
    userTags: list[UserTag] = Field(default_factory=list, description="The user tags.", max_length=100)

    @field_validator("*")
    @classmethod
    def _refuse_secrets(cls, value: object, info: ValidationInfo) -> object:
        """Refuse an enrolment code in every text, because texts are stored, shown or repeated in errors."""
        if info.field_name not in _MAY_HOLD_SECRETS:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    refuse_secret(text)
        return value


class Reply(BaseModel):
    """The root of the replies; an empty one is `{}`."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


Name = Annotated[str, Field(min_length=1, max_length=255, description="The resource name.")]
Description = Annotated[str, Field(max_length=2048, description="The detailed description of the resource.")]
DeleteMode = Literal["Permissive", "Enforcing"]


class OneResource(Parameters):
    """The parameters of an API on one resource."""

    uuid: Uuid = Field(description="The resource UUID.")


class QueryParameters(Parameters):
    """The parameters of a query; on the wire `conditions` are repeated `q=`, and the sort is one `sort=`."""

    conditions: list[str] = Field(default_factory=list, description="Conditions such as `status=Connected`; all hold.")
    limit: int | None = Field(None, description="The most inventories to return; 1000 without it.")
    start: int | None = Field(None, description="How many matches to skip.")
    count: bool | None = Field(None, description="Return only the number of matches.")
    replyWithCount: bool | None = Field(None, description="Return the number of all matches beside the inventories.")
    sortBy: str | None = Field(None, description="The field to sort by.")
    sortDirection: Literal["asc", "desc"] | None = None
    fields: list[str] | None = Field(None, description="Return only these fields.")
    groupBy: str | None = Field(None, description="Return one inventory for each value of this field.")
    filterName: str | None = None


class QueryReply(Reply):
    """What a query found; `total` only when it was asked for, and then alone with `count`."""

    total: int | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """One public API.

    `long` ones may run as a job; `queries` names the inventory that a query API returns. A parameter that `must_exist`
    pairs with an inventory names one by its uuid, and is looked up before the session is, as other parameters are.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    paths: tuple[str, ...]
    parameters: type[Parameters]
    reply: type[Reply]
    summary: str
    body_key: str = ""
    long: bool = False
    needs_session: bool = True
    queries: type[Inventory] | None = None
    must_exist: tuple[tuple[str, type[Inventory]], ...] = ()

    @property
    def path_variables(self) -> list[str]:
        """The parameters that stand in the longest path."""
        return re.findall(r"{(\w+)}", self.paths[-1])
