"""Shows the product at work on this machine, and measures it from outside.

    python -m tests.demo --seconds 40 --viewers 4 --stream hls --json result.json

Map:
    main, run    options; start the stage, show it, add up, end it
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.live import Live

from tests.demo import screen
from tests.demo.clock import seconds
from tests.demo.parts import Plan, Stream, Through
from tests.demo.processes import CouldNotStart
from tests.demo.stage import Stage
from tests.demo.summary import Result

LINE_EVERY_SECONDS = 5.0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40, help="how long; 0 is until Ctrl-C")
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--stream", choices=get_args(Stream.__value__), default="hls")
    parser.add_argument("--mbps", type=float, default=50, help="speed of the origin's line; 0 is unlimited")
    parser.add_argument("--abr", action="store_true", help="viewers choose their rendition by speed")
    parser.add_argument(
        "--through",
        choices=get_args(Through.__value__),
        default="agents",
        help="agents: the product; nothing: viewers straight at the origin; mitmdump: a plain proxy per viewer",
    )
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs and settings")
    return parser.parse_args()


async def _show(stage: Stage, console: Console, duration: float, ended: asyncio.Event) -> None:
    """Until the time is over or somebody asks for the end."""
    limit = seconds() + duration if duration else float("inf")
    shown_at = seconds()
    # A terminal gets a table that stays in its place; a log gets lines.
    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else _Quiet() as live:
        while seconds() < limit and not ended.is_set():
            await stage.refresh()
            result = await stage.result()
            if isinstance(live, Live):
                live.update(screen.table(stage, result), refresh=True)
            elif seconds() - shown_at >= LINE_EVERY_SECONDS:
                shown_at = seconds()
                print(screen.line(result), flush=True)
            try:
                async with asyncio.timeout(min(1.0, max(0.01, limit - seconds()))):
                    await ended.wait()
            except TimeoutError:
                continue


class _Quiet:
    """In the place of the live table where there is no terminal."""

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


async def run(chosen: argparse.Namespace, console: Console) -> Result:
    plan = Plan(viewers=chosen.viewers, stream=chosen.stream, mbps=chosen.mbps, through=chosen.through, abr=chosen.abr)
    plan.start_within_seconds += 4 * chosen.viewers
    ended, loop, this = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.cancel)
    console.print(f"Starting an origin and {chosen.viewers} viewers through {chosen.through} ...")
    async with Stage(plan, keep=chosen.keep) as stage:
        for row in screen.guide(stage):
            console.print(row, soft_wrap=True, markup=False, highlight=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)  # from here on an early end still adds up
        await stage.start_viewers()
        await _show(stage, console, chosen.seconds, ended)
        result = await stage.finish()
        if console.is_terminal:
            console.print(screen.table(stage, result))
    if chosen.keep:
        console.print(f"Logs and settings are in {stage.directory}", soft_wrap=True)
    return result


def main() -> int:
    chosen = options()
    console = Console()
    try:
        result = asyncio.run(run(chosen, console))
    except CouldNotStart as error:
        print(f"The demo could not start: {error}", file=sys.stderr)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("Ended before it had started.", file=sys.stderr)
        return 130
    for sentence in screen.verdict(result):
        console.print(sentence, highlight=False)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(result.json(), indent=1) + "\n")
    if (trouble := screen.trouble(result)) is not None:
        print(trouble, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
