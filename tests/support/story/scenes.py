"""The story: its scenes in their order. The docstring of a scene is its title and its text on the page.

A new command or event needs a line in a scene: `await cast.ann.sends("message:pin", roomId="general", messageId=5)`
records a command with its answer, `await cast.bob.receives("message:pinned")` an event, and
`await cast.requests("ann", "GET", "/api/rooms")` a request with its answer. Then `make docs` records the story.
"""

from tests.support.story import ends, over_http, over_socketio, refusals, rooms, talk

STORY = (
    *(talk.connecting, talk.a_room, talk.talking, talk.changing_messages, talk.reading),
    *(talk.settings_of_a_room, talk.coming_and_going),
    *(rooms.a_private_room, rooms.moderation, rooms.reports, rooms.blocks, rooms.added_people),
    *(refusals.invalid_commands, refusals.what_is_not_there, refusals.what_is_not_allowed, refusals.tokens),
    over_socketio.the_other_endpoint,
    *(over_http.reads, over_http.audit, over_http.limits_of_the_server, over_http.administration),
    over_http.at_a_provider,
    *(ends.closed_at_once, ends.the_database_stops, ends.the_server_stops),
)
"""The scenes, in their order."""
