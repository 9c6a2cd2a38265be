"""HTTP helpers: responses checked against OpenAPI, metrics, the sign-in page."""
