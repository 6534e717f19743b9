"""Run the agent's command line from a source tree: `python -m bs_agent.agent`."""

from bs_agent.agent.main import main

main(prog_name="bs-agent")
