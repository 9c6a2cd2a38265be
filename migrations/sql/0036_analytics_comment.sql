COMMENT ON SCHEMA analytics IS 'What analysts may read: stable views of the read models, described in docs/guides/analyse-read-models.md';
