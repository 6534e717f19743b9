"""The SDK's actions on accounts, sessions and access keys."""

from bs_agent.client.actions.action import Action, QueryAction
from bs_agent.contract import calls_account as calls
from bs_agent.contract.declaration import Reply


class LogInByAccountAction(Action[calls.SessionReply]):
    """Open a session; a password that is no SHA-512 yet is hashed before it is sent."""

    api = calls.LOG_IN
    hashed = frozenset({"password"})
    accountName: str
    password: str


class LogOutAction(Action[Reply]):
    """End a session; an unknown one too."""

    api = calls.LOG_OUT
    sessionUuid: str


class ValidateSessionAction(Action[calls.ValidSessionReply]):
    """Tell whether a session can be used."""

    api = calls.VALIDATE_SESSION
    sessionUuid: str


class QuerySessionAction(QueryAction[calls.QuerySessionReply]):
    """Find open sessions, without their secrets."""

    api = calls.QUERY_SESSION


class RevokeSessionAction(Action[Reply]):
    """End a session that QuerySession shows."""

    api = calls.REVOKE_SESSION
    uuid: str


class QueryAccountAction(QueryAction[calls.QueryAccountReply]):
    """Find accounts."""

    api = calls.QUERY_ACCOUNT


class UpdateAccountAction(Action[calls.AccountReply]):
    """Change the password of an account, and end its other sessions."""

    api = calls.UPDATE_ACCOUNT
    uuid: str
    password: str


class CreateAccessKeyAction(Action[calls.AccessKeyReply]):
    """Create a key that signs requests; the answer shows its secret this once."""

    api = calls.CREATE_ACCESS_KEY
    accountUuid: str | None
    userUuid: str | None
    description: str | None
    AccessKeyID: str | None
    AccessKeySecret: str | None


class QueryAccessKeyAction(QueryAction[calls.QueryAccessKeyReply]):
    """Find access keys, without their secrets."""

    api = calls.QUERY_ACCESS_KEY


class DeleteAccessKeyAction(Action[Reply]):
    """Delete an access key."""

    api = calls.DELETE_ACCESS_KEY
    uuid: str
