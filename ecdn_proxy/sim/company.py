"""Many sites, each simulated on its own, on as many cores as are given; sites that are alike are simulated each.

    simulate(scenario, processes=…, progress=…) -> Result

Sites do not speak to each other, so the order in which they are simulated does not matter; figures come back in the
scenario's order, and the digest is the same on any number of cores.
"""

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import blake2b

from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.office import Office
from ecdn_proxy.sim.scenario import Scenario, SiteSpec

_TASK_VIEWERS = 400
"""Small sites are given to a process together, up to this many viewers."""

Task = list[tuple[int, SiteSpec, Scenario]]


@dataclass(slots=True)
class Result:
    """The figures of a scenario: of each site, and of all sites added up."""

    scenario: Scenario
    sites: list[SiteFigures]
    total: SiteFigures
    digest: str


def simulate(
    scenario: Scenario,
    *,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Simulate every site of a scenario.

    Args:
        scenario: what is simulated.
        processes: how many sites are simulated at once.
        progress: called with the number of viewers whose site has just been finished.
    """
    jobs = [(number, site, scenario) for number, site in enumerate(scenario.offices())]
    return gather(scenario, jobs, processes=processes, progress=progress)


def gather(
    scenario: Scenario, jobs: Task, *, processes: int = 1, progress: Callable[[int], None] | None = None
) -> Result:
    """Simulate these sites, each in the scenario given with it; `scenario` is what the result is called after."""
    found: dict[int, SiteFigures] = {}
    for part in _done(_tasks(jobs), processes):
        found.update(part)
        if progress is not None:
            progress(sum(figures.viewers for figures in part.values()))
    sites = [found[number] for number, _, _ in jobs]
    total = SiteFigures("all sites", 0, 0.0, 0.0)
    digest = blake2b(digest_size=16)
    for figures in sites:
        total.merge(figures)
        digest.update(figures.digest.encode())
    total.digest = digest.hexdigest()
    return Result(scenario, sites, total, total.digest)


def _tasks(jobs: Task) -> list[Task]:
    """Sites to simulate one after the other in one process: the largest first, small ones together."""
    tasks: list[Task] = []
    weight = 0
    for job in sorted(jobs, key=lambda job: -job[1].viewers):
        if not tasks or weight + job[1].viewers > _TASK_VIEWERS:
            tasks.append([])
            weight = 0
        tasks[-1].append(job)
        weight += job[1].viewers
    return tasks


def _done(tasks: list[Task], processes: int) -> Iterator[dict[int, SiteFigures]]:
    if processes <= 1 or len(tasks) == 1:
        yield from map(_work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
        futures = [pool.submit(_work, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()


def _work(task: Task) -> dict[int, SiteFigures]:
    found: dict[int, SiteFigures] = {}
    collecting = gc.isenabled()
    gc.disable()  # a site is a million small objects and has hardly a cycle until it ends
    try:
        for number, site, scenario in task:
            found[number] = Office(site, scenario, number).run()
            if site.viewers > _TASK_VIEWERS // 4:
                gc.collect()
        gc.collect()
    finally:
        if collecting:
            gc.enable()
    return found
