"""The guides of identity providers: the settings that they show can be used as they stand."""

import re
from pathlib import Path

import pytest

from service.config.settings import Settings
from service.gateway.auth.claims import ClaimRules
from tests.support.environment import ROOT

GUIDES = sorted((ROOT / "docs" / "guides" / "providers").glob("*.md"))
ASSIGNED = re.compile(r"(ONRECORD_\w+)=([^`\n]+)")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_the_settings_of_a_guide_are_valid(guide: Path) -> None:
    text = guide.read_text()
    block = dict(ASSIGNED.findall(text.split("```")[1]))
    assert {
        "ONRECORD_JWT_ISSUER",
        "ONRECORD_JWT_JWKS",
        "ONRECORD_JWT_AUDIENCE",
        "ONRECORD_OIDC_CLIENT_ID",
    } <= set(block)
    for name, value in ASSIGNED.findall(text):
        ClaimRules.of(Settings.from_env({**block, name: value}))
    assert ClaimRules.of(Settings.from_env(block)).scopes_of({"scope": "openid profile email"}) == {"chat"}
