import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('llmrec_django', '0005_lists_and_experiments'),
    ]

    operations = [
        migrations.AddField(
            model_name='modelversion',
            name='why_data',
            field=models.JSONField(blank=True, default=list, editable=False),
        ),
        migrations.CreateModel(
            name='EvaluationRecord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='measured')),
                ('ndcg', models.FloatField(verbose_name='NDCG@10')),
                ('expected', models.FloatField(blank=True, help_text='What learners with histories as long reached when the version was trained.', null=True, verbose_name='expected NDCG@10')),
                ('has_fallen', models.BooleanField(default=False, help_text='It is surely worse than expected, by more than the setting allows.', verbose_name='has fallen')),
                ('metrics', models.JSONField(blank=True, default=dict, verbose_name='metrics')),
                ('version', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='evaluations', to='llmrec_django.modelversion', verbose_name='model version')),
            ],
            options={
                'verbose_name': 'evaluation',
                'verbose_name_plural': 'evaluations',
                'abstract': False,
                'required_db_vendor': 'postgresql',
                'indexes': [models.Index(fields=['version', '-created_at'], name='llmrec_evaluation_newest')],
            },
        ),
    ]
