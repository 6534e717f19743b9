"""What the doctor looks at on the host itself: the two Pythons."""

import platform
import re
import sys

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor.finding import Finding, output

WORKER_NEEDS = (3, 6)


async def python(settings: AgentSettings) -> list[Finding]:
    """Look at the Python of the agent and at that of the probe worker."""
    own = Finding("ok", "python", f"{platform.python_version()}, {sys.executable}")
    worker = settings.probe.python
    status, printed = await output(worker, "-I", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])")
    if status:
        cure = "Install it, or name another one in probe.python."
        return [own, Finding("FAIL", "worker python", printed, cure)]
    version = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})\.[0-9]+", printed)
    if version is None:
        return [own, Finding("FAIL", "worker python", f"{worker} is no Python", "Name one in probe.python.")]
    if (int(version[1]), int(version[2])) < WORKER_NEEDS:
        return [own, Finding("FAIL", "worker python", f"{printed}, {worker}", "The probe worker needs 3.6 or later.")]
    return [own, Finding("ok", "worker python", f"{printed}, {worker}")]
