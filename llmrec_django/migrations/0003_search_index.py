"""Full-text index, made in SQL: Django 6 refuses GinIndex in hosts without django.contrib.postgres."""

from django.db import migrations

from llmrec_django.migrations._operations import PostgresSQL


class Migration(migrations.Migration):
    dependencies = [("llmrec_django", "0002_initial")]
    operations = [
        PostgresSQL(
            "CREATE INDEX llmrec_resource_words ON llmrec_django_resource USING gin (search_words)",
            "DROP INDEX IF EXISTS llmrec_resource_words",
        )
    ]
