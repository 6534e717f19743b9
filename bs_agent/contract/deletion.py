"""What a delete would do: shown before, changed by nobody."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from bs_agent.contract.inventory import Inventory
from bs_agent.contract.reasons import Reason


class PlannedStep(BaseModel):
    """One thing that would be removed from a host, or from the storage through it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    action: str
    target: str
    error: Reason | None = Field(None, description="Why it cannot be done now.")


class HostCleanupInventory(Inventory):
    """What a delete would do on one host."""

    java_class = "org.zstack.bsagent.HostCleanupInventory"

    hostname: str
    agentUuid: str | None = None
    answers: bool = Field(description="Whether the agent answers and knows us.")
    reason: Reason | None = Field(None, description="Why the host cannot be cleaned now.")
    cure: str | None = Field(None, description="What helps against that.")
    hostOnly: bool = Field(description="Whether only the host lets go; the storage itself is cleaned through another.")
    steps: list[PlannedStep] = Field(default_factory=list, description="What would be cleaned, in this order.")
    permissive: Literal["Cleaned", "Refused"] = Field(description="Refused: the delete fails because of this host.")
    enforcing: Literal["Cleaned", "Owed"] = Field(description="Owed: it is cleaned when it comes back.")


class DeletePreviewInventory(Inventory):
    """What a delete would do; images are kept by either mode."""

    java_class = "org.zstack.bsagent.DeletePreviewInventory"
    expands: ClassVar[dict[str, type[Inventory]]] = {"hosts": HostCleanupInventory}

    uuid: str = Field(description="The storage.")
    name: str
    permissive: Literal["Deleted", "Refused"] = Field(description="Refused: nothing would be deleted now.")
    enforcing: Literal["Deleted"] = Field(
        "Deleted", description="Always: hosts that cannot be cleaned now are owed that."
    )
    hosts: list[HostCleanupInventory] = Field(default_factory=list)
