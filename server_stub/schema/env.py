"""What Alembic runs: the steps on the connection that it was given, within its transaction."""

from alembic import context

from server_stub.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
