"""Migration operations that do nothing on a database other than PostgreSQL."""

from django.core.management.base import CommandError
from django.db import Error, migrations, router, transaction
from django.db.migrations.operations.base import Operation


class CreateVectorExtension(Operation):
    """Make sure that the type `vector` can be used, or say in plain words what a DBA has to do."""

    reversible = True
    reduces_to_sql = False

    def state_forwards(self, app_label, state):
        pass

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        connection = schema_editor.connection
        if connection.vendor != "postgresql" or not router.allow_migrate(connection.alias, app_label):
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT n.nspname, to_regtype('vector') IS NOT NULL FROM pg_extension e "
                "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
            )
            row = cursor.fetchone()
            if row is None:
                self._create(connection, cursor)
            elif not row[1]:
                raise CommandError(
                    f"Cannot use pgvector on database {connection.alias!r}: the extension is in schema {row[0]!r}, "
                    f"which is not in the search_path. Add it, for example with OPTIONS = {{'options': "
                    f"'-c search_path=public,{row[0]}'}} in DATABASES, and run migrate again."
                )

    def _create(self, connection, cursor):
        try:
            with transaction.atomic(using=connection.alias):
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except Error as exc:
            user = connection.settings_dict.get("USER") or "the current user"
            raise CommandError(
                f"Cannot create the pgvector extension on database {connection.alias!r} as {user!r}: "
                f"{str(exc).strip().splitlines()[0]}. Install pgvector on the server if it is missing, let an "
                "administrator run CREATE EXTENSION vector; in this database, and run migrate again."
            ) from exc

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        """Keep the extension: other apps may use it."""

    def describe(self):
        return "Creates the pgvector extension"


class PostgresSQL(migrations.RunSQL):
    """RunSQL on PostgreSQL only."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
