"""The Grafana dashboard of `deploy/`."""

import json

from tests.support.environment import ROOT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "onrecord.json").read_text())
