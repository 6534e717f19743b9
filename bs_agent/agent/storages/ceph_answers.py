"""The answers of a Ceph cluster as far as we read them, typed; whatever else a release adds is ignored.

The names are those of the mon commands' JSON. What a release between 14 and 20 may leave out has a default.
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo

T = TypeVar("T")
Wanted = dict[str, Any] | Literal[True]
# What the protocol can say.
LARGEST = 2**63 - 1
# Old releases print C's "-nan" where a ratio has no divisor, for example in `osd df` without OSDs: that is not JSON.
_STRING_OR_NAN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\b(?:nan|inf)\b')


def _whole(number: object) -> object:
    if number is None or (isinstance(number, float) and not math.isfinite(number)):
        return 0
    return int(number) if isinstance(number, float) else number


def _counted(number: int) -> int:
    return number if 0 <= number <= LARGEST else 0


# A counter of Ceph: it is signed, but often printed unsigned, and may be unknown. None is below zero.
Count = Annotated[int, BeforeValidator(_whole), AfterValidator(_counted)]
# Ceph counts pools up from 1 and never uses a number again.
PoolId = Annotated[int, Field(ge=0, le=LARGEST)]
# A share, where old releases print that they do not know it.
Share = Annotated[float, BeforeValidator(lambda number: 1.0 if number is None else number)]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Summary(Answer):
    """The text of a health check."""

    message: str = ""


class Check(Answer):
    """One health check of `status`; a muted one has no part in the health."""

    severity: str = ""
    muted: bool = False
    summary: Summary = Summary()


class Health(Answer):
    """The health of `status`."""

    status: str
    checks: dict[str, Check] = {}


class MgrMap(Answer):
    """Whether a mgr is active, as the mons see it."""

    available: bool = False


class InnerOsdCounts(Answer):
    """How many OSDs there are, and how often their map has changed, if the release tells."""

    epoch: int | None = None
    num_osds: Count = 0
    num_up_osds: Count = 0
    num_in_osds: Count = 0


class OsdCounts(InnerOsdCounts):
    """The same; Ceph 14 has them one level deeper."""

    osdmap: InnerOsdCounts | None = None


class Status(Answer):
    """`status`."""

    fsid: str
    health: Health
    mgrmap: MgrMap = MgrMap()
    osdmap: OsdCounts = OsdCounts()

    @property
    def osds(self) -> InnerOsdCounts:
        """What there is to say of the OSDs."""
        return self.osdmap.osdmap or self.osdmap

    @property
    def epoch(self) -> int | None:
        """The number of the map of OSDs and pools, which each change of it makes greater."""
        return self.osds.epoch


class ClusterStats(Answer):
    """The raw bytes of the cluster in `df`, and of how many OSDs they are, if the release tells."""

    total_bytes: Count = 0
    total_avail_bytes: Count = 0
    num_osds: int | None = None


class PoolStats(Answer):
    """The numbers of one pool in `df detail`."""

    stored: Count = 0
    objects: Count = 0
    max_avail: Count = 0


class PoolUsage(Answer):
    """One pool in `df detail`."""

    id: int
    stats: PoolStats = PoolStats()


class Df(Answer):
    """`df detail`."""

    stats: ClusterStats
    pools: list[PoolUsage] = []


class OsdPool(Answer):
    """One pool in `osd dump`; its rule had another name before Ceph 12."""

    pool: PoolId
    pool_name: str
    type: int
    size: int
    crush_rule: int = Field(validation_alias=AliasChoices("crush_rule", "crush_ruleset"))
    flags_names: str = ""
    application_metadata: dict[str, dict[str, str]] = {}
    erasure_code_profile: str = ""
    quota_max_bytes: Count = 0
    quota_max_objects: Count = 0


class OsdDump(Answer):
    """`osd dump`."""

    epoch: int = 0
    fsid: str = ""
    flags: str = ""
    pools: list[OsdPool] = []
    erasure_code_profiles: dict[str, dict[str, str]] = {}


class RuleStep(Answer):
    """One step of a CRUSH rule."""

    op: str
    item_name: str = ""
    type: str = ""


class Rule(Answer):
    """One CRUSH rule of `osd crush rule dump`."""

    rule_id: int
    rule_name: str
    steps: list[RuleStep] = []


class TreeNode(Answer):
    """One bucket or OSD of `osd tree`."""

    id: int
    name: str
    type: str
    children: list[int] = []
    device_class: str | None = None


class Tree(Answer):
    """`osd tree`."""

    nodes: list[TreeNode] = []


class OsdBytes(Answer):
    """One OSD in `osd df`, in KiB."""

    id: int
    status: str = ""
    reweight: Share = 1.0
    crush_weight: Share = 1.0
    kb: Count = 0
    kb_used: Count = 0
    kb_avail: Count = 0


class OsdDf(Answer):
    """`osd df`."""

    nodes: list[OsdBytes] = []


class Addr(Answer):
    """One address of an address vector: `v1`, `v2` or `any`, and `host:port`."""

    type: str
    addr: str


class AddrVec(Answer):
    """All addresses of a mon."""

    addrvec: list[Addr] = []


class MapMon(Answer):
    """One mon of the mon map; `addr` is all there is before Ceph 14."""

    rank: int
    name: str
    public_addrs: AddrVec = AddrVec()
    addr: str = ""


class MonMap(Answer):
    """The mon map."""

    fsid: str = ""
    mons: list[MapMon] = []


class QuorumStatus(Answer):
    """`quorum_status`."""

    quorum: list[int] = []
    quorum_leader_name: str = ""
    monmap: MonMap


class MonMetadata(Answer):
    """One mon of `mon metadata`; a mon that never came up has a name only."""

    name: str
    ceph_version_short: str = ""
    ceph_version: str = ""


class MonStatus(Answer):
    """`mon_status` of a mon's admin socket."""

    name: str
    rank: int
    state: str
    monmap: MonMap


class MonVersion(Answer):
    """`version` of a mon's admin socket."""

    version: str = ""


@dataclass(frozen=True, slots=True)
class PoolAnswers:
    """The answers that tell what the pools hold."""

    df: Df
    osd_dump: OsdDump
    rules: list[Rule]
    tree: Tree
    osd_df: OsdDf


class Question(Generic[T]):
    """A command to the cluster and the form of its answer; `by_mgr` says that the mons pass it on to the mgr.

    `wanted` are the parts of the answer that are read: of a large cluster's answer that is a small share.
    """

    def __init__(self, form: type[T], *, by_mgr: bool = False, **words: str) -> None:
        self.name = words["prefix"]
        self.words = {**words, "format": "json"}
        self.by_mgr = by_mgr
        self.wanted = wanted_of(form)
        self._answer = form

    @cached_property
    def _form(self) -> TypeAdapter[T]:
        return TypeAdapter(self._answer)

    def read(self, answer: str) -> T:
        """Parse the answer.

        Raises:
            ValidationError: it is not JSON, or it lacks what we need of it.
        """
        try:
            return self._form.validate_json(answer)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] != "json_invalid":
                raise
        return self._form.validate_json(_STRING_OR_NAN.sub(_null_for_nan, answer))


def wanted_of(form: Any) -> Wanted:
    """Return the parts of an answer that a form reads: keys and what is wanted below them, `*` for keys of any name.

    True wants all there is; each entry of a list is treated as the list is.
    """
    if isinstance(form, type) and issubclass(form, BaseModel):
        return {
            key: wanted_of(field.annotation)
            for name, field in form.model_fields.items()
            for key in _keys_of(name, field)
        }
    parts = [part for part in get_args(form) if part is not type(None)]
    if get_origin(form) is dict:
        return {"*": wanted_of(parts[1])}
    if get_origin(form) in {list, UnionType, Union} and len(parts) == 1:
        return wanted_of(parts[0])
    return True


def _keys_of(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]


def _null_for_nan(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else "null"


STATUS = Question(Status, prefix="status")
DF = Question(Df, prefix="df", detail="detail")
OSD_DUMP = Question(OsdDump, prefix="osd dump")
CRUSH_RULES = Question(list[Rule], prefix="osd crush rule dump")
OSD_TREE = Question(Tree, prefix="osd tree")
OSD_DF = Question(OsdDf, by_mgr=True, prefix="osd df")
QUORUM_STATUS = Question(QuorumStatus, prefix="quorum_status")
MON_METADATA = Question(list[MonMetadata], prefix="mon metadata")

# Asked of a mon's admin socket.
MON_STATUS = Question(MonStatus, prefix="mon_status")
MON_VERSION = Question(MonVersion, prefix="version")
