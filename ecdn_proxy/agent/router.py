"""The agent's one door for viewers' requests: from where each is answered, and what is learnt of those that pass.

    Router.route(request) -> PassToOrigin | FromMemory | Shared        once for each request
    Router.may_be_manifest · manifest_arrived · passed_to_origin       what goes to the origin
    Router.host_bypassed                                               a host that is tunnelled from now on

A request comes in by `route` and nowhere else. What the classifier does not know goes to the origin. A whole segment in
memory is the answer itself. Any other segment becomes a `Shared` route: whoever carries the request opens it when it
begins to answer, and only then the node hears that a viewer wants the segment.

Nothing here may fail a viewer: what cannot be understood is the origin's business.
"""

from functools import partial

import structlog

from ecdn_proxy.agent.api import FromMemory, PassToOrigin, Route, Shared, ViewerRequest, ViewerResponse
from ecdn_proxy.agent.classifier import Classifier, SegmentMatch, partly_used_manifest, refused_manifest
from ecdn_proxy.agent.condition_log import ConditionSink
from ecdn_proxy.agent.node_runner import NodeRunner
from ecdn_proxy.core import events, values
from ecdn_proxy.core.catalog.lookup import Listed
from ecdn_proxy.core.http.freshness import Demand, page_of
from ecdn_proxy.core.manifest.model import ManifestError
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io import clock
from ecdn_proxy.io.origin import OriginClient
from ecdn_proxy.sansio.tasks import Tasks

FROM_MEMORY_BYTES_MAX = 4 * 1024 * 1024
"""A segment up to this length is answered in one go: a third of the CPU of a response that is streamed."""

log = structlog.get_logger(__name__)


class Router:
    """One agent's `ecdn_proxy.agent.api.AgentApi`."""

    def __init__(
        self,
        classifier: Classifier,
        meter: Meter,
        runner: NodeRunner,
        origin: OriginClient,
        conditions: ConditionSink,
        tasks: Tasks,
    ) -> None:
        self._classifier = classifier
        self._meter = meter
        self._runner = runner
        self._origin = origin
        self._conditions = conditions
        self._tasks = tasks
        self._viewers = 0
        """How many responses have been opened; the node names a viewer by its number."""

    def route(self, request: ViewerRequest) -> Route:
        """Decide where a request is answered. Never raises and never waits: on any doubt, PassToOrigin."""
        try:
            found = self._classifier.classify(request, clock.utc())
        except Exception as error:  # a request that we fail to understand is the origin's business
            log.error("a request could not be sorted", exc_info=error)
            return PassToOrigin("a fault of this agent's own")
        if isinstance(found, PassToOrigin):
            return found
        sent = frozenset(name for name, _ in request.headers)
        demand = Demand(self._runner.now(), page_of(request.headers), found.max_age_s, found.listed.number, sent=sent)
        stored = self._runner.in_memory(found.listed.key, demand)
        if stored is not None and len(stored.body) <= FROM_MEMORY_BYTES_MAX:
            return self._from_memory(found.listed, stored)
        return Shared(found.why, partial(self._open_response, found, request))

    def _from_memory(self, listed: Listed, stored: values.StoredSegment) -> FromMemory:
        why = "in this machine's memory"
        self._runner.feed(events.StreamOpened(listed.stream))
        self._meter.served(
            events.Served(
                key=listed.key,
                stream=listed.stream,
                rendition=listed.rendition,
                number=listed.number,
                source="cache",
                why=why,
                ms=0.0,
                bytes_by_source=(("cache", len(stored.body)),),
            ),
            self._runner.now(),
        )
        return FromMemory(stored, why)

    def _open_response(self, found: SegmentMatch, request: ViewerRequest) -> ViewerResponse:
        self._viewers += 1
        listed = found.listed
        wanted = events.Wanted(
            viewer=self._viewers,
            stream=listed.stream,
            rendition=listed.rendition,
            key=listed.key,
            number=listed.number,
            duration_s=listed.duration_s,
            live=listed.live,
            resource_range=listed.byte_range,
            origin=values.OriginRequest(request.url, request.headers, found.rule),
            utc=clock.utc(),
            best_kbps=listed.best_kbps,
            max_age_s=found.max_age_s,
        )
        return self._runner.open_response(request, wanted)

    # ---- what goes to the origin

    def needs_whole_body(self, request: ViewerRequest) -> bool:
        """Whether the origin is to be asked without If-None-Match and If-Modified-Since; see the classifier's."""
        return self._classifier.needs_whole_body(request)

    def may_be_manifest(self, request: ViewerRequest, status: int, headers: values.Headers) -> bool:
        """Whether the origin's answer with this head may be a manifest, so that its body must be copied (bounded)."""
        return self._classifier.may_be_manifest(request, status, headers)

    async def manifest_arrived(self, request: ViewerRequest, headers: values.Headers, body: bytes) -> None:
        """Learn a whole answer that may be a manifest, and connect to its origin: a segment is soon wanted."""
        try:
            streams = await self._classifier.manifest_arrived(request, headers, body, clock.utc())
        except ManifestError as error:
            self._conditions.raise_condition("manifest-refused", refused_manifest(request, error))
            return
        except Exception as error:  # the viewer has its manifest; only sharing suffers
            log.error("a manifest could not be read", exc_info=error)
            return
        if streams and (notices := self._classifier.catalog.notices_for(request.url)):
            self._conditions.raise_condition("manifest-partly-used", partly_used_manifest(request, notices))
        if streams:
            self._tasks.start(self._origin.prepare(request.url), "prepare")
        for stream in streams:
            self._runner.feed(events.StreamOpened(stream))

    def passed_to_origin(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        """Count a request that went to the origin untouched, and note what its answer says of the viewer's rights."""
        self._meter.passed(received_bytes)
        self._classifier.origin_answered(request, status, clock.utc())
        if (key := self._classifier.changed(request, status, clock.utc())) is not None:
            self._runner.feed(events.Invalidated(key))

    def host_bypassed(self, host: str, why: str) -> None:
        """Show that a host is tunnelled from now on: a program on this machine refuses our certificate for it."""
        self._conditions.raise_condition("host-bypassed", f"{host}: {why}")
