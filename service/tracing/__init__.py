"""Traces by OpenTelemetry: what became of a command, from its frame over the commit and every node to the read models.

Nothing is carried from one process to the next. Everybody who handles an event knows its stream, its seq and when it
was recorded, and from these the ids of its trace and of the two spans that others hang on are derived; so neither the
stored format nor a message of the bus has a place for them, and all agree by themselves on what is traced at all.

    message:send      the door: from the frame to the ack (the root)
      commit          the node that recorded it
        deliver       each node that wrote it to clients
        project       each read model

The rule: a span is made when it is over, and only for what is traced. Who traces nothing does not even import this.
"""

from service.tracing.contexts import spans_of
from service.tracing.exporter import traces_to
from service.tracing.traces import Traces

__all__ = ["Traces", "spans_of", "traces_to"]
