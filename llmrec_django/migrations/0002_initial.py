import django.core.validators
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.text
import llmrec_django.models.resource
import pgvector.django.vector
from django.conf import settings
from django.db import migrations, models

from llmrec_django.models.base import host_foreign_key


class Migration(migrations.Migration):

    dependencies = [
        ('llmrec_django', '0001_vector_extension'),
        ('contenttypes', '0002_remove_content_type_name'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Competency',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant', models.CharField(default='default', max_length=64, verbose_name='tenant')),
                ('key', models.CharField(max_length=255, verbose_name='key')),
                ('title', models.CharField(max_length=500, verbose_name='title')),
                ('description', models.TextField(blank=True, verbose_name='description')),
            ],
            options={
                'verbose_name': 'competency',
                'verbose_name_plural': 'competencies',
                'abstract': False,
                'required_db_vendor': 'postgresql',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'key'), name='llmrec_competency_key_unique')],
            },
        ),
        migrations.CreateModel(
            name='LearnerProfile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant', models.CharField(default='default', max_length=64, verbose_name='tenant')),
                ('visitor_key', models.CharField(blank=True, max_length=255, null=True, verbose_name='visitor key')),
                ('goals', models.TextField(blank=True, help_text='What the learner wants to be able to do.', verbose_name='goals')),
                ('interests', models.JSONField(blank=True, default=list, verbose_name='interests')),
                ('level', models.CharField(blank=True, choices=[('beginner', 'Beginner'), ('intermediate', 'Intermediate'), ('advanced', 'Advanced')], max_length=16, verbose_name='level')),
                ('languages', models.JSONField(blank=True, default=list, verbose_name='languages')),
                ('minutes_per_week', models.PositiveIntegerField(blank=True, null=True, verbose_name='minutes available per week')),
                ('personalise', models.BooleanField(default=True, help_text="Off: this learner's activity is neither recorded nor used.", verbose_name='personal recommendations')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated')),
                ('content_hash', models.GeneratedField(db_persist=True, expression=django.db.models.functions.text.MD5(django.db.models.functions.text.Concat(models.F('goals'), models.Value('\x1f'), django.db.models.functions.comparison.Cast(models.F('interests'), models.TextField()), output_field=models.TextField())), output_field=models.CharField(max_length=32))),
                ('user', host_foreign_key(settings.AUTH_USER_MODEL, blank=True, null=True, related_name='+', verbose_name='account')),
            ],
            options={
                'verbose_name': 'learner profile',
                'verbose_name_plural': 'learner profiles',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='Placement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant', models.CharField(default='default', max_length=64, verbose_name='tenant')),
                ('name', models.SlugField(max_length=64, verbose_name='name')),
                ('title', models.CharField(blank=True, help_text='Heading shown above the list.', max_length=200, verbose_name='title')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('size', models.PositiveSmallIntegerField(default=10, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='size')),
                ('kinds', models.JSONField(blank=True, default=list, help_text='Empty: all kinds.', verbose_name='kinds')),
                ('languages', models.JSONField(blank=True, default=list, help_text="Empty: the learner's.", verbose_name='languages')),
                ('diversity', models.FloatField(default=0.3, help_text='0: most relevant first; 1: as different from each other as can be.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(1.0)], verbose_name='diversity')),
                ('seen', models.CharField(choices=[('hide', 'hide everything the learner has touched'), ('decay', 'hide for as long as each verb says'), ('show', 'show again')], default='decay', max_length=8, verbose_name='already seen')),
            ],
            options={
                'verbose_name': 'placement',
                'verbose_name_plural': 'placements',
                'abstract': False,
                'required_db_vendor': 'postgresql',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'name'), name='llmrec_placement_name_unique'), models.CheckConstraint(condition=models.Q(('size__gte', 1), ('size__lte', 100)), name='llmrec_placement_size_range'), models.CheckConstraint(condition=models.Q(('diversity__gte', 0), ('diversity__lte', 1)), name='llmrec_placement_diversity_range')],
            },
        ),
        migrations.CreateModel(
            name='Resource',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant', models.CharField(default='default', max_length=64, verbose_name='tenant')),
                ('key', models.CharField(help_text='Stable name of the resource for clients, unique in its tenant.', max_length=255, verbose_name='key')),
                ('object_id', models.CharField(blank=True, editable=False, max_length=255, verbose_name='object id')),
                ('title', models.CharField(blank=True, max_length=1000, verbose_name='title')),
                ('description', models.TextField(blank=True, verbose_name='description')),
                ('body', models.TextField(blank=True, help_text='Read by the encoder only (a transcript, say); never shown.', verbose_name='further text')),
                ('translations', models.JSONField(blank=True, default=dict, help_text='Title and description by language, as {"zh-hans": {"title": "…", "description": "…"}}.', verbose_name='translations')),
                ('kind', models.CharField(default='course', help_text='course, lesson, video, article, book, paper …', max_length=32, verbose_name='kind')),
                ('authors', models.JSONField(blank=True, default=list, verbose_name='authors')),
                ('publisher', models.CharField(blank=True, max_length=255, verbose_name='publisher')),
                ('keywords', models.JSONField(blank=True, default=list, verbose_name='keywords')),
                ('language', models.CharField(blank=True, help_text='Language tag such as en or zh-hans.', max_length=35, verbose_name='language')),
                ('level', models.CharField(blank=True, choices=[('beginner', 'Beginner'), ('intermediate', 'Intermediate'), ('advanced', 'Advanced')], max_length=16, verbose_name='level')),
                ('duration_minutes', models.PositiveIntegerField(blank=True, null=True, verbose_name='duration in minutes')),
                ('url', models.CharField(blank=True, max_length=2000, verbose_name='web address')),
                ('license', models.CharField(blank=True, max_length=255, verbose_name='licence')),
                ('image', models.CharField(blank=True, max_length=2000, verbose_name='image address')),
                ('extra', models.JSONField(blank=True, default=dict, verbose_name='extra')),
                ('published', models.BooleanField(default=True, verbose_name='published')),
                ('available_from', models.DateTimeField(blank=True, null=True, verbose_name='available from')),
                ('available_until', models.DateTimeField(blank=True, null=True, verbose_name='available until')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated')),
                ('content_hash', models.GeneratedField(db_persist=True, expression=django.db.models.functions.text.MD5(django.db.models.functions.text.Concat(models.F('title'), models.Value('\x1f'), models.F('description'), models.Value('\x1f'), models.F('body'), models.Value('\x1f'), django.db.models.functions.comparison.Cast(models.F('keywords'), models.TextField()), models.Value('\x1f'), django.db.models.functions.comparison.Cast(models.F('translations'), models.TextField()), output_field=models.TextField())), output_field=models.CharField(max_length=32))),
                ('search_words', models.GeneratedField(db_persist=True, expression=llmrec_django.models.resource.SearchVector(models.F('title'), models.F('keywords'), models.F('description'), models.F('translations')), output_field=llmrec_django.models.resource.TSVectorField())),
                ('content_type', host_foreign_key('contenttypes.contenttype', blank=True, editable=False, null=True, related_name='+')),
            ],
            options={
                'verbose_name': 'learning resource',
                'verbose_name_plural': 'learning resources',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='Prerequisite',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('strength', models.FloatField(default=1.0, help_text='1 is a hard requirement, less is advice.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(1.0)], verbose_name='strength')),
                ('requires', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='unlocks', to='llmrec_django.resource', verbose_name='requires')),
                ('resource', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prerequisites', to='llmrec_django.resource', verbose_name='learning resource')),
            ],
            options={
                'verbose_name': 'prerequisite',
                'verbose_name_plural': 'prerequisites',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='Interaction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant', models.CharField(default='default', max_length=64, verbose_name='tenant')),
                ('verb', models.CharField(max_length=32, verbose_name='verb')),
                ('value', models.FloatField(blank=True, help_text='Rating or progress, 0 to 1.', null=True, verbose_name='value')),
                ('query', models.CharField(blank=True, max_length=500, verbose_name='search words')),
                ('occurred_at', models.DateTimeField(verbose_name='occurred at')),
                ('received_at', models.DateTimeField(auto_now_add=True, verbose_name='received at')),
                ('source', models.CharField(default='site', max_length=64, verbose_name='source')),
                ('event_id', models.CharField(help_text='Unique for a source and learner: the same event counts once.', max_length=255, verbose_name='event id')),
                ('learner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='interactions', to='llmrec_django.learnerprofile', verbose_name='learner')),
                ('resource', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='interactions', to='llmrec_django.resource', verbose_name='learning resource')),
            ],
            options={
                'verbose_name': 'interaction',
                'verbose_name_plural': 'interactions',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='ResourceCompetency',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('relation', models.CharField(choices=[('teaches', 'teaches'), ('assesses', 'assesses'), ('requires', 'requires')], default='teaches', max_length=16, verbose_name='relation')),
                ('strength', models.FloatField(default=1.0, validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(1.0)], verbose_name='strength')),
                ('competency', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='resource_links', to='llmrec_django.competency', verbose_name='competency')),
                ('resource', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='competency_links', to='llmrec_django.resource', verbose_name='learning resource')),
            ],
            options={
                'verbose_name': 'competency of a resource',
                'verbose_name_plural': 'competencies of resources',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='VectorSpace',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('encoder', models.CharField(help_text="Its name in LLMREC['ENCODERS'].", max_length=64, verbose_name='encoder')),
                ('encoder_id', models.CharField(help_text='Model, revision and options.', max_length=255, verbose_name='encoder id')),
                ('recipe', models.CharField(max_length=64, verbose_name='text recipe')),
                ('dimension', models.PositiveIntegerField(verbose_name='dimension')),
                ('metric', models.CharField(default='ip', max_length=8, verbose_name='metric')),
                ('status', models.CharField(choices=[('building', 'building'), ('active', 'active'), ('retired', 'retired')], default='building', max_length=16, verbose_name='status')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('activated_at', models.DateTimeField(blank=True, null=True, verbose_name='activated')),
                ('retired_at', models.DateTimeField(blank=True, null=True, verbose_name='retired')),
            ],
            options={
                'verbose_name': 'vector space',
                'verbose_name_plural': 'vector spaces',
                'abstract': False,
                'required_db_vendor': 'postgresql',
                'constraints': [models.UniqueConstraint(condition=models.Q(('status', 'active')), fields=('status',), name='llmrec_space_one_active'), models.UniqueConstraint(condition=models.Q(('status', 'retired'), _negated=True), fields=('encoder_id', 'recipe', 'dimension'), name='llmrec_space_identity_unique'), models.CheckConstraint(condition=models.Q(('dimension__gte', 1), ('dimension__lte', 4000)), name='llmrec_space_dimension_range')],
            },
        ),
        migrations.CreateModel(
            name='ResourceVector',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('vector', pgvector.django.vector.VectorField(verbose_name='vector')),
                ('content_hash', models.CharField(max_length=32, verbose_name='content hash')),
                ('text_hash', models.CharField(max_length=32, verbose_name='hash of the encoded text')),
                ('embedded_at', models.DateTimeField(auto_now=True, verbose_name='embedded')),
                ('resource', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='vectors', to='llmrec_django.resource', verbose_name='learning resource')),
                ('space', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='vectors', to='llmrec_django.vectorspace', verbose_name='vector space')),
            ],
            options={
                'verbose_name': 'resource vector',
                'verbose_name_plural': 'resource vectors',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='ProfileVector',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('vector', pgvector.django.vector.VectorField(verbose_name='vector')),
                ('content_hash', models.CharField(max_length=32, verbose_name='content hash')),
                ('learner', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='vectors', to='llmrec_django.learnerprofile', verbose_name='learner')),
                ('space', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='profile_vectors', to='llmrec_django.vectorspace', verbose_name='vector space')),
            ],
            options={
                'verbose_name': 'profile vector',
                'verbose_name_plural': 'profile vectors',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.CreateModel(
            name='EmbeddingClaim',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('working', 'in progress'), ('failed', 'failed'), ('empty', 'no text')], default='working', max_length=16, verbose_name='state')),
                ('content_hash', models.CharField(max_length=32, verbose_name='content hash')),
                ('token', models.CharField(max_length=32, verbose_name='claim token')),
                ('lease_until', models.DateTimeField(help_text='A failed one is tried again after this.', verbose_name='lease until')),
                ('attempts', models.PositiveIntegerField(default=0, verbose_name='attempts')),
                ('error', models.TextField(blank=True, verbose_name='error')),
                ('resource', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='embedding_claims', to='llmrec_django.resource', verbose_name='learning resource')),
                ('space', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='claims', to='llmrec_django.vectorspace', verbose_name='vector space')),
            ],
            options={
                'verbose_name': 'embedding in progress or failed',
                'verbose_name_plural': 'embeddings in progress or failed',
                'abstract': False,
                'required_db_vendor': 'postgresql',
            },
        ),
        migrations.AddConstraint(
            model_name='learnerprofile',
            constraint=models.UniqueConstraint(condition=models.Q(('user__isnull', False)), fields=('tenant', 'user'), name='llmrec_profile_user_unique', violation_error_message='This account has a profile in this tenant already.'),
        ),
        migrations.AddConstraint(
            model_name='learnerprofile',
            constraint=models.UniqueConstraint(condition=models.Q(('visitor_key__isnull', False)), fields=('tenant', 'visitor_key'), name='llmrec_profile_visitor_unique', violation_error_message='This visitor key has a profile in this tenant already.'),
        ),
        migrations.AddConstraint(
            model_name='learnerprofile',
            constraint=models.CheckConstraint(condition=models.Q(('user__isnull', False), ('visitor_key__isnull', False), _connector='OR'), name='llmrec_profile_has_identity', violation_error_message='A learner needs an account or a visitor key.'),
        ),
        migrations.AddIndex(
            model_name='resource',
            index=models.Index(fields=['tenant', '-created_at'], name='llmrec_resource_newest'),
        ),
        migrations.AddIndex(
            model_name='resource',
            index=models.Index(fields=['content_type', 'object_id'], name='llmrec_resource_object'),
        ),
        migrations.AddConstraint(
            model_name='resource',
            constraint=models.UniqueConstraint(fields=('tenant', 'key'), name='llmrec_resource_key_unique'),
        ),
        migrations.AddConstraint(
            model_name='resource',
            constraint=models.UniqueConstraint(condition=models.Q(('content_type__isnull', False)), fields=('tenant', 'content_type', 'object_id'), name='llmrec_resource_object_unique'),
        ),
        migrations.AddConstraint(
            model_name='resource',
            constraint=models.CheckConstraint(condition=models.Q(('available_from__isnull', True), ('available_until__isnull', True), ('available_until__gt', models.F('available_from')), _connector='OR'), name='llmrec_resource_dates_ordered', violation_error_message='The end must be later than the beginning.'),
        ),
        migrations.AddConstraint(
            model_name='prerequisite',
            constraint=models.UniqueConstraint(fields=('resource', 'requires'), name='llmrec_prerequisite_unique'),
        ),
        migrations.AddConstraint(
            model_name='prerequisite',
            constraint=models.CheckConstraint(condition=models.Q(('resource', models.F('requires')), _negated=True), name='llmrec_prerequisite_not_itself', violation_error_message='A resource cannot require itself.'),
        ),
        migrations.AddConstraint(
            model_name='prerequisite',
            constraint=models.CheckConstraint(condition=models.Q(('strength__gte', 0), ('strength__lte', 1)), name='llmrec_prerequisite_strength_range'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['learner', '-occurred_at', '-id'], name='llmrec_interaction_history'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['tenant', '-occurred_at'], name='llmrec_interaction_recent'),
        ),
        migrations.AddConstraint(
            model_name='interaction',
            constraint=models.UniqueConstraint(fields=('source', 'event_id', 'learner'), name='llmrec_interaction_event_unique'),
        ),
        migrations.AddConstraint(
            model_name='interaction',
            constraint=models.CheckConstraint(condition=models.Q(('resource__isnull', False), ('verb', 'searched'), _connector='OR'), name='llmrec_interaction_has_resource'),
        ),
        migrations.AddConstraint(
            model_name='resourcecompetency',
            constraint=models.UniqueConstraint(fields=('resource', 'competency', 'relation'), name='llmrec_resource_competency_unique'),
        ),
        migrations.AddConstraint(
            model_name='resourcecompetency',
            constraint=models.CheckConstraint(condition=models.Q(('strength__gte', 0), ('strength__lte', 1)), name='llmrec_competency_strength_range'),
        ),
        migrations.AddConstraint(
            model_name='resourcevector',
            constraint=models.UniqueConstraint(fields=('space', 'resource'), name='llmrec_resource_vector_unique'),
        ),
        migrations.AddConstraint(
            model_name='profilevector',
            constraint=models.UniqueConstraint(fields=('space', 'learner'), name='llmrec_profile_vector_unique'),
        ),
        migrations.AddConstraint(
            model_name='embeddingclaim',
            constraint=models.UniqueConstraint(fields=('space', 'resource'), name='llmrec_claim_unique'),
        ),
    ]
