"""The help of one command, written from the contract."""

from collections.abc import Iterable, Iterator

from bs_agent.client.cli import catalog
from bs_agent.client.cli.catalog import Field
from bs_agent.contract.declaration import PREFIX, Api

SAMPLES = {
    "url": "/zstack_imagestore",
    "hostname": "172.20.1.115",
    "accountName": "admin",
    "name": "my-store",
    "monUrls": "172.24.249.174,172.24.252.188",
    "monHostnames": "172.24.249.174",
    "tag": "room::4",
}
ALSO = {"GetBackupStorageCapacity": ("all=true",), "UpdateBackupStorage": ("description=new",)}


def command_help(api: Api) -> str:
    """Return what a command does and takes, with an example."""
    return "\n".join(_lines(api))


def _lines(api: Api) -> Iterator[str]:
    known = catalog.parameters(api)
    yield f"Usage: bs-cli {api.name} {'[CONDITION]... ' if api.queries else ''}[NAME=VALUE]..."
    yield ""
    yield f"  {api.summary}"
    yield f"  {api.method} {PREFIX}{api.paths[-1] if not api.queries else api.paths[0]}"
    if api.queries:
        yield ""
        yield "Conditions, all of which hold:"
        yield "  FIELD=VALUE  !=  >  >=  <  <=     FIELD?=A,B (in)  !?=     FIELD~=PART (like; % and _)  !~="
        yield "  FIELD=null   FIELD!=null"
        yield ""
        yield "Fields:"
        yield from _rows(catalog.fields(api.queries).values(), of_inventory=True)
        for table, to in catalog.tables(api.queries).items():
            yield f"  {table}.: {', '.join(f'{table}.{name}' for name in catalog.fields(to) if '__' not in name)}"
    yield ""
    yield "Parameters:"
    yield from _rows(known.values())
    yield ""
    yield "Example:"
    yield f"  {example(api)}"


def example(api: Api) -> str:
    """Return a command line that works, where there are resources of these names."""
    if api.queries:
        by = next(name for name in ("name", "tag", "createDate") if name in catalog.fields(api.queries))
        words = [f"{by}~=a" if by != "createDate" else "limit=10", f"sortBy={by}", f"fields={by},uuid"]
    else:
        known = catalog.parameters(api)
        words = [f"{field.name}={_sample(field)}" for field in known.values() if field.needed and not field.secret]
    return f"bs-cli {' '.join([api.name, *words, *ALSO.get(api.name, ())])}"


def _rows(fields: Iterable[Field], *, of_inventory: bool = False) -> Iterator[str]:
    for field in fields:
        notes = [field.description or field.kind]
        notes += ["needed"] if field.needed else []
        notes += [f"one of {', '.join(field.values)}"] if field.values else []
        notes += [f"{field.name}=- asks for it, {field.name}=@FILE reads it"] if field.secret else []
        notes += ["A,B or @FILE, may be repeated"] if field.many and not of_inventory else []
        yield f"  {field.name:<22} {'; '.join(note.rstrip('.') for note in notes)}"


def _sample(field: Field) -> str:
    if field.values:
        return field.values[0]
    uuid = "1ab3b836a88342e1bbc1b1a17d092f0f"
    return SAMPLES.get(field.name, uuid if field.name.lower().endswith("uuid") else "x")
