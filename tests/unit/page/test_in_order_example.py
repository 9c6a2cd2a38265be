"""The example that sends messages of a stock Socket.IO client in order, against a socket that refuses and loses."""

import json
import subprocess

import pytest

from tests.support.environment import ROOT

pytestmark = pytest.mark.needs("node")

EXAMPLE = ROOT / "examples" / "socketio" / "in-order.mjs"
SCRIPT = """
    const { inOrder } = await import(process.argv[1]);
    const answers = JSON.parse(process.argv[2]);
    const sent = [], results = [];
    const emitWithAck = async (name, { ref, content }) => {
      sent.push([content, ref]);
      const answer = answers.shift() ?? { ok: true };
      if (answer === "lost") throw new Error("timeout");
      return answer;
    };
    const { send } = inOrder({ timeout: () => ({ emitWithAck }) });
    const each = (content) => send({ roomId: "a", content, ref: content }).then(() => "sent", ({ code }) => code);
    console.log(JSON.stringify([await Promise.all(["m1", "m2", "m3"].map(each)), sent.map(([content]) => content)]));
"""


def refused(code: str, retry_after: float) -> object:
    error = {"code": code, "message": "No.", "retryable": True, "retryAfter": retry_after}
    return {"ok": False, "error": error}


@pytest.mark.parametrize(
    ("answers", "results", "sent"),
    [
        ([], ["sent"] * 3, ["m1", "m2", "m3"]),
        (
            [{"ok": True}, *[refused("too_many_requests", 0.01)] * 2],
            ["sent"] * 3,
            ["m1", "m2", "m2", "m2", "m3"],
        ),
        (["lost"], ["sent"] * 3, ["m1", "m1", "m2", "m3"]),
        ([refused("muted", 0)], ["muted", "sent", "sent"], ["m1", "m2", "m3"]),
        ([refused("too_many_requests", 9000)], ["too_many_requests", "sent", "sent"], ["m1", "m2", "m3"]),
    ],
)
def test_messages_are_sent_in_order_by_themselves(
    answers: list[object], results: list[str], sent: list[str]
) -> None:
    command = ["node", "--input-type=module", "-e", SCRIPT, str(EXAMPLE), json.dumps(answers)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(output) == [results, sent]
