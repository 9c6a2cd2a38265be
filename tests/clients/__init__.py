"""Tests of the client libraries (`clients/`): what every one of them keeps, as `clients/conformance/README.md` says."""
