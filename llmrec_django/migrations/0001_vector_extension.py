"""The pgvector extension, alone, so that a DBA who made it by hand loses nothing."""

from django.db import migrations

from llmrec_django.migrations._operations import CreateVectorExtension


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [CreateVectorExtension()]
