"""The calls on agents, and on what is still owed to them."""

from bs_agent.contract.declaration import Api, QueryParameters, QueryReply
from bs_agent.contract.inventory import AgentInventory, DebtInventory


class QueryAgentReply(QueryReply):
    """The agents that were found."""

    inventories: list[AgentInventory] | None = None


class QueryDebtReply(QueryReply):
    """The debts that were found."""

    inventories: list[DebtInventory] | None = None


QUERY_AGENT = Api(
    "QueryAgent", "GET", ("/agents", "/agents/{uuid}"), QueryParameters, QueryAgentReply,
    "Find agents, and how their polls go.", queries=AgentInventory,
)  # fmt: skip
QUERY_DEBT = Api(
    "QueryDebt", "GET", ("/debts", "/debts/{uuid}"), QueryParameters, QueryDebtReply,
    "Find the clean-ups and forgettings that are still owed to agents.", queries=DebtInventory,
)  # fmt: skip

AGENT_CALLS = (QUERY_AGENT, QUERY_DEBT)
