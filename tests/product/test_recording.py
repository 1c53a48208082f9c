"""What real agents recorded, replayed by a fresh node: the same decisions, and nothing in it that nobody may know."""

import re

import pytest
from click.testing import CliRunner

from ecdn_proxy.sim.replay import command
from tests.demo import pki
from tests.demo.parts import Plan
from tests.demo.stage import Stage
from tests.product.outside import settled

pytestmark = [pytest.mark.processes, pytest.mark.asyncio]


async def test_what_agents_recorded_is_decided_the_same_again() -> None:
    async with Stage(Plan(viewers=3, record=True)) as stage:
        files = [agent.config.with_suffix(".recording") for agent in stage.agents]
        await stage.start_viewers()
        await settled(stage.viewers)
        assert stage.agents[0].child is not None
        await stage.agents[0].child.kill()  # its recording has no end, and the others' tell of its loss
        await settled(stage.viewers[1:], 3)
        for agent in stage.agents[1:]:
            assert agent.child is not None
            await agent.child.end(10.0)
        seen: set[tuple[str, str]] = set()
        for number, file in enumerate(files):
            text = file.read_text()
            assert (text.count('"is":"end","why":"the agent was stopped"') == 1) == (number > 0)
            assert pki.ORIGIN not in text
            assert not re.search(r"https?:|cookie|\.ts\b|\.m3u8|token|720p", text, re.IGNORECASE)
            assert file.stat().st_mode & 0o077 == 0
            told = CliRunner().invoke(command, [str(file)], catch_exceptions=False)
            assert told.exit_code == 0, told.output[-2_000:]
            assert "Decided the same" in told.output
            assert told.output.count("→ served segment") > 3
            seen |= set(re.findall(r"→ (fetch|served segment) \d+ from (?:the )?(\w+)", told.output))
    assert {("fetch", "origin"), ("served segment", "lan")} <= seen
