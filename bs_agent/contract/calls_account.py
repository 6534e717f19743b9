"""The calls on accounts, sessions and access keys."""

from pydantic import Field, SecretStr

from bs_agent.contract.declaration import Api, OneResource, Parameters, QueryParameters, QueryReply, Reply
from bs_agent.contract.inventory import AccessKeyInventory, AccountInventory, OpenSessionInventory, SessionInventory
from bs_agent.contract.uuids import Uuid


class LogInParameters(Parameters):
    """Who logs in."""

    accountName: str = Field(max_length=255)
    password: SecretStr = Field(
        description="The SHA-512 of the password, as 128 lower-case hexadecimal digits.", max_length=1024
    )


class SessionParameters(Parameters):
    """Which session; its uuid is the secret that it carries."""

    sessionUuid: Uuid


class UpdateAccountParameters(OneResource):
    """What to change of an account."""

    password: SecretStr = Field(
        description="The new password, or the lower-case hexadecimal SHA-512 of it.", min_length=8, max_length=255
    )


class CreateAccessKeyParameters(Parameters):
    """A new access key; an id and a secret are made unless they are given."""

    accountUuid: Uuid | None = Field(None, description="The account that the key acts for; the caller's without it.")
    userUuid: Uuid | None = Field(None, description="Accepted for compatibility.")
    description: str | None = Field(None, max_length=2048)
    AccessKeyID: str | None = Field(None, pattern=r"^[A-Za-z0-9]{10,20}$")
    AccessKeySecret: SecretStr | None = Field(None, min_length=10, max_length=40)


class SessionReply(Reply):
    """The session that was opened."""

    inventory: SessionInventory


class ValidSessionReply(Reply):
    """Whether the session can be used."""

    validSession: bool


class AccountReply(Reply):
    """One account."""

    inventory: AccountInventory


class QueryAccountReply(QueryReply):
    """The accounts that were found."""

    inventories: list[AccountInventory] | None = None


class QuerySessionReply(QueryReply):
    """The sessions that were found."""

    inventories: list[OpenSessionInventory] | None = None


class AccessKeyReply(Reply):
    """The new access key, with its secret, which is shown this once."""

    inventory: AccessKeyInventory


class QueryAccessKeyReply(QueryReply):
    """The access keys that were found, without their secrets."""

    inventories: list[AccessKeyInventory] | None = None


LOG_IN = Api(
    "LogInByAccount", "PUT", ("/accounts/login",), LogInParameters, SessionReply,
    "Open a session.", body_key="logInByAccount", needs_session=False,
)  # fmt: skip
LOG_OUT = Api(
    "LogOut", "DELETE", ("/accounts/sessions/{sessionUuid}",), SessionParameters, Reply,
    "End a session; an unknown one too.", needs_session=False,
)  # fmt: skip
VALIDATE_SESSION = Api(
    "ValidateSession", "GET", ("/accounts/sessions/{sessionUuid}/valid",), SessionParameters, ValidSessionReply,
    "Tell whether a session can be used.", needs_session=False,
)  # fmt: skip
QUERY_SESSION = Api(
    "QuerySession", "GET", ("/accounts/open-sessions", "/accounts/open-sessions/{uuid}"), QueryParameters,
    QuerySessionReply, "Find open sessions, without their secrets.", queries=OpenSessionInventory,
)  # fmt: skip
REVOKE_SESSION = Api(
    "RevokeSession", "DELETE", ("/accounts/open-sessions/{uuid}",), OneResource, Reply,
    "End a session that QuerySession shows.", long=True,
)  # fmt: skip
QUERY_ACCOUNT = Api(
    "QueryAccount", "GET", ("/accounts", "/accounts/{uuid}"), QueryParameters, QueryAccountReply, "Find accounts.",
    queries=AccountInventory,
)  # fmt: skip
UPDATE_ACCOUNT = Api(
    "UpdateAccount", "PUT", ("/accounts/{uuid}",), UpdateAccountParameters, AccountReply,
    "Change the password of an account, and end its other sessions.", body_key="updateAccount", long=True,
    must_exist=(("uuid", AccountInventory),),
)  # fmt: skip
CREATE_ACCESS_KEY = Api(
    # Not long: a job's result is kept, and this one holds a secret.
    "CreateAccessKey", "POST", ("/accesskeys",), CreateAccessKeyParameters, AccessKeyReply,
    "Create a key that signs requests.", body_key="params",
)  # fmt: skip
QUERY_ACCESS_KEY = Api(
    "QueryAccessKey", "GET", ("/accesskeys", "/accesskeys/{uuid}"), QueryParameters, QueryAccessKeyReply,
    "Find access keys.", queries=AccessKeyInventory,
)  # fmt: skip
DELETE_ACCESS_KEY = Api(
    "DeleteAccessKey", "DELETE", ("/accesskeys/{uuid}",), OneResource, Reply, "Delete an access key.", long=True,
)  # fmt: skip

ACCOUNT_CALLS = (
    LOG_IN, LOG_OUT, VALIDATE_SESSION, QUERY_SESSION, REVOKE_SESSION, QUERY_ACCOUNT, UPDATE_ACCOUNT,
    CREATE_ACCESS_KEY, QUERY_ACCESS_KEY, DELETE_ACCESS_KEY,
)  # fmt: skip
