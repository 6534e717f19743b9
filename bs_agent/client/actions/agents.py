"""The SDK's actions on agents, and on what is still owed to them."""

from bs_agent.client.actions.action import QueryAction
from bs_agent.contract import calls_agent as calls


class QueryAgentAction(QueryAction[calls.QueryAgentReply]):
    """Find agents, and how their polls go."""

    api = calls.QUERY_AGENT


class QueryDebtAction(QueryAction[calls.QueryDebtReply]):
    """Find the clean-ups and forgettings that are still owed to agents."""

    api = calls.QUERY_DEBT
