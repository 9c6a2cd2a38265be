"""Schema migrations (Alembic): numbered, forward only, never edited once released. They own every table."""
