"""The SDK's actions on what has happened."""

from bs_agent.client.actions.action import QueryAction
from bs_agent.contract import calls_past as calls


class QueryJobAction(QueryAction[calls.QueryJobReply]):
    """Find jobs: who called what, and how that went."""

    api = calls.QUERY_JOB


class QueryEventAction(QueryAction[calls.QueryEventReply]):
    """Find what has happened, when, to what, and by whom."""

    api = calls.QUERY_EVENT
