"""Runs the project Wycheproof's vectors for signed JSON against our check of tokens: see `scripts/wycheproof`.

Their payloads are no claims, so a token counts as accepted once its signature was found good. Of keys we take what an
operator could name: a secret of HS256 that is long enough, or a set of public keys.

The rule: every vector that is judged in another way than it says is named here, with the reason, or it is wrong.
"""

import asyncio
import base64
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joserfc.errors import InvalidPayloadError
from joserfc.jwk import OctKey

from service.config import parsers
from service.config.settings import SHARED
from service.errors import TokenInvalid, Unavailable
from service.gateway.auth.jwks import KEY_KINDS, PublishedKeys, SharedSecret, VerificationKeys
from service.gateway.auth.tokens import TokenVerifier

FILES = ("json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json")

OTHER_ALGORITHM = "stricter: the key says that it is for another algorithm than the token's"
NOT_BASE64URL = "stricter: a character that is none of base64url is not skipped (RFC 7515, 2)"
SAID_TWICE = "contradicting: letter for letter the token of ValidMac, which is valid"
WEAK_KEY = "looser: whether a published key was made badly is the provider's to know (CVE-2017-15361)"
KNOWN: dict[tuple[str, str], str] = {
    ("rfc7520", "Figure20"): OTHER_ALGORITHM,
    ("rfc7520", "Figure27"): OTHER_ALGORITHM,
    ("rfc7520WithKeyOps", "Figure20"): OTHER_ALGORITHM,
    ("rfc7520WithKeyOps", "Figure27"): OTHER_ALGORITHM,
    ("base64", "InvalidCharacterInsertedInHeader"): NOT_BASE64URL,
    ("base64", "InvalidCharacterInsertedInPayload"): NOT_BASE64URL,
    ("base64", "invalidBase64Padding"): SAID_TWICE,
    ("base64", "invalidBase64PaddingInPayload"): SAID_TWICE,
    ("jws_rsa_roca_key", "rejectsKeyWithRocaVulnerability"): WEAK_KEY,
}
"""By the comments of group and vector."""

AS_IT_SAYS, NOT_OURS, WRONG = (
    "as it says",
    "not ours: encryption, an algorithm or a kind of key that no setting takes",
    "WRONG",
)


async def judge(group: dict[str, Any], vector: dict[str, Any], place: Path) -> str:
    """Return what becomes of a vector."""
    given = group.get("public") or group["private"]
    keys: Sequence[dict[str, Any]] = given.get("keys", [given])
    if "jws" not in vector or (_secret(keys) and (len(keys) > 1 or keys[0].get("alg") not in SHARED)):
        return NOT_OURS
    good = await accepted(vector["jws"], keys, place)
    if good == (vector["result"] == "valid"):
        return AS_IT_SAYS
    return KNOWN.get((group["comment"], vector["comment"]), WRONG)


async def accepted(token: object, keys: Sequence[dict[str, Any]], place: Path) -> bool:
    """Return whether our check finds a token's signature good, by keys that a node would start with."""
    if not isinstance(
        token, str
    ):  # the JSON form; what is no text gets no further than the frame that it is in
        return False
    source: VerificationKeys
    algorithms: Sequence[str] = SHARED
    if _secret(keys):
        content = base64.urlsafe_b64decode(keys[0]["k"] + "===")
        try:
            parsers.shared_secret("x" * len(content))
        except ValueError:
            return False
        shared = SharedSecret("x" * 32)
        shared.key = OctKey.import_key(content)
        source = shared
    else:
        await asyncio.to_thread(place.write_text, json.dumps({"keys": keys}))
        source, algorithms = PublishedKeys(str(place), asyncio.get_running_loop().time), tuple(KEY_KINDS)
    try:
        await TokenVerifier(source, algorithms, issuer=None, audience=None, leeway=0).read(token)
    except TokenInvalid as refused:
        return isinstance(refused.__cause__, InvalidPayloadError)
    except Unavailable:  # the set of keys is not taken
        return False
    return True


def _secret(keys: Sequence[dict[str, Any]]) -> bool:
    return all(key["kty"] == "oct" for key in keys)


async def main(folder: Path) -> int:
    """Print what became of each file's vectors; 1 where one is wrong."""
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        for name in FILES:
            became: Counter[str] = Counter()
            for group in json.loads((folder / name).read_text())["testGroups"]:
                for vector in group["tests"]:
                    what = await judge(group, vector, Path(place, "keys.json"))
                    became[what] += 1
                    if what == WRONG:
                        _say(
                            f"  {group['comment']}: {vector['tcId']} {vector['comment']} is {vector['result']}"
                        )
            _say(f"{name}: {became.total()} vectors")
            for what, count in became.most_common():
                _say(f"  {count:4}  {what}")
            failed += became[WRONG]
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line)  # noqa: T201 - a program's output


if __name__ == "__main__":
    logging.disable()
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
