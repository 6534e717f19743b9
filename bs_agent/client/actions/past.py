"""The SDK's actions on what has happened."""

from bs_agent.client.actions.action import Action, QueryAction
from bs_agent.contract import calls_past as calls


class QueryJobAction(QueryAction[calls.QueryJobReply]):
    """Find jobs: who called what, and how that went."""

    api = calls.QUERY_JOB


class QueryEventAction(QueryAction[calls.QueryEventReply]):
    """Find what has happened, when, to what, and by whom."""

    api = calls.QUERY_EVENT


class GetBackupStorageCapacityHistoryAction(Action[calls.CapacityHistoryReply]):
    """Show how the capacities of a backup storage were, and when it is full."""

    api = calls.GET_CAPACITY_HISTORY
    uuid: str
    period: calls.Period
