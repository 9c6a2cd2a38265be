"""Alembic's entry point: runs the migrations over the connection that `migrations.run.migrate` passes."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
