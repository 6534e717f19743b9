"""A storage is deleted while its disk is not mounted: what is ours there is not taken for clean, and not forgotten."""

from pathlib import Path

import pytest

from bs_agent.contract.errors import CannotDelete
from tests.beds import mounts
from tests.beds.agent import AgentProcess
from tests.beds.fleet import fleet, image_store, until

pytestmark = pytest.mark.asyncio


async def test_a_delete_cleans_the_disk_when_it_is_mounted_again(tmp_path: Path) -> None:
    if why := mounts.missing():
        pytest.skip(why)
    kept, images = tmp_path / "kept", tmp_path / "images"
    images.mkdir()
    settings = {"probe": {"interval": 1.0, "deadline": 1.0}}
    with mounts.tmpfs(kept, "size=1m"), AgentProcess(tmp_path / "agent", settings) as agent:
        async with fleet(tmp_path) as bed:
            with mounts.bound(kept, images):
                uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
            with pytest.raises(CannotDelete) as refusal:
                await bed.service.delete(uuid, "Permissive")
            cause = refusal.value.shown().cause
            assert (refusal.value.shown().code, cause.code if cause else "") == ("SYS.1004", "BS.MarkerMissing")
            await bed.service.delete(uuid, "Enforcing")
            assert await bed.shown(uuid) is None
            assert list(kept.iterdir())
            with mounts.bound(kept, images):

                async def is_clean() -> bool:
                    return not list(kept.iterdir()) and bed.service.poller.watching == 0

                await until(is_clean)
