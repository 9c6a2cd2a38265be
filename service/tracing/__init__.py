"""OpenTelemetry traces of a command: from its frame to the commit, each node's delivery and the read models.

No trace context is passed between processes. Every process that handles an event knows its stream, seq and time, and
derives the ids of the trace and of the two parent spans from them. So neither the stored format nor the bus has to
carry ids, and all processes sample the same traces.

    message:send      the endpoint: from the frame to the ack (the root)
      commit          the node that recorded it
        deliver       each node that wrote it to clients
        project       each read model

A span is made when it ends, and only if its trace is sampled. A process without tracing does not import this package.
"""

from service.tracing.contexts import spans_of
from service.tracing.traces import Traces, traces_to

__all__ = ["Traces", "spans_of", "traces_to"]
