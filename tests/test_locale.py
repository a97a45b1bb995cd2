"""The Chinese of the app and of the campus: complete, up to date, compiled, and shown."""

from __future__ import annotations

import functools
import gettext
import struct
from pathlib import Path

import django
import pytest
from django.apps import apps
from django.contrib import admin
from django.template import engines
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import override

from llmrec_django.admin.screening import RULES
from llmrec_django.models import EmbeddingClaim, LearnerProfile, ProfileVector, Resource, VectorSpace
from llmrec_django.models.learner import COMMON_VERBS, verb_label
from llmrec_django.models.resource import COMMON_KINDS, kind_label
from llmrec_django.testing.factories import InteractionFactory, ResourceFactory
from tests.locale_texts import Text, placeholders, read_po, texts_of, untranslatable
from tests.testapp.models import Member

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "llmrec_django"
APPS = [APP, ROOT / "example_project" / "campus"]
PO = "locale/zh_Hans/LC_MESSAGES/django.po"
UPDATE = "Run makemessages and compilemessages in the app's folder, see CONTRIBUTING.md."

each_app = pytest.mark.parametrize("folder", APPS, ids=lambda folder: folder.name)


def read_mo(path):
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)


def compiled(mo, text):
    if text.context:
        return (
            mo.npgettext(text.context, text.msgid, text.plural, 1)
            if text.plural
            else mo.pgettext(text.context, text.msgid)
        )
    return mo.ngettext(text.msgid, text.plural, 1) if text.plural else mo.gettext(text.msgid)


class TestCatalogues:
    @each_app
    def test_hold_what_the_sources_say_and_nothing_else(self, folder):
        found, kept = texts_of(folder), {entry.text for entry in read_po(folder / PO)[1]}
        assert len(found) > 50
        assert (found - kept, kept - found) == (set(), set()), UPDATE

    @each_app
    def test_are_complete(self, folder):
        header, entries = read_po(folder / PO)
        assert "Language: zh_Hans\n" in header
        assert "nplurals=1;" in header
        assert [entry.text for entry in entries if entry.is_fuzzy or len(entry.forms) != 1 or not entry.forms[0]] == []

    @each_app
    def test_keep_placeholders_and_markup(self, folder):
        for entry in read_po(folder / PO)[1]:
            for form in entry.forms:
                assert placeholders(form) == placeholders(entry.text.plural or entry.text.msgid), entry.text

    @each_app
    def test_are_compiled(self, folder):
        po, mo = folder / PO, (folder / PO).with_suffix(".mo")
        entries = read_po(po)[1]
        translations = read_mo(mo)
        assert {entry.text: compiled(translations, entry.text) for entry in entries} == {
            entry.text: entry.forms[0] for entry in entries
        }, UPDATE
        (count,) = struct.unpack("<8xI", mo.read_bytes()[:12])
        assert count == len(entries) + 1, UPDATE

    def test_leave_django_its_own_words(self):
        """All apps of a site share one catalogue: a translation of ours that differs would change the host's admin."""
        ours = {entry.text: entry.forms[0] for entry in read_po(APP / PO)[1] if not entry.text.plural}
        changed, shared = [], 0
        for name in ("admin", "auth", "contenttypes", "sessions"):
            theirs = read_mo(Path(django.__file__).parent / "contrib" / name / Path(PO).with_suffix(".mo"))
            for text, form in ours.items():
                other = compiled(theirs, text)
                shared += other != text.msgid
                if other not in (text.msgid, form):
                    changed.append((name, text, other, form))
        assert shared
        assert changed == []

    def test_agree_on_the_words_they_share(self):
        """Of two apps the first installed wins: where a word means two things, ours needs a context."""
        ours, theirs = ({entry.text: entry.forms for entry in read_po(folder / PO)[1]} for folder in APPS)
        assert {text: theirs[text] for text in ours.keys() & theirs.keys() if ours[text] != theirs[text]} == {}


class TestSources:
    @each_app
    def test_templates_hold_no_words_outside_translation(self, folder):
        templates = {path.name: untranslatable(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
        assert templates
        assert {name: words for name, words in templates.items() if set(words) - {"API"}} == {}

    @pytest.mark.parametrize(
        "model", list(apps.get_app_config("llmrec_django").get_models()), ids=lambda model: model.__name__
    )
    def test_models_name_everything_in_words_that_can_be_translated(self, model):
        opts = model._meta
        words = {"verbose_name": opts.verbose_name, "verbose_name_plural": opts.verbose_name_plural}
        for field in opts.local_fields:
            if field.primary_key or not field.editable or field.generated:
                continue
            words[field.name] = field.verbose_name
            words[f"{field.name} help"] = field.help_text
            words |= {f"{field.name} {value}": label for value, label in field.choices or ()}
        assert {name: text for name, text in words.items() if text and not isinstance(text, Promise)} == {}

    def test_the_readers_find_what_is_there(self, tmp_path):
        (tmp_path / "a.py").write_text(
            "from django.utils.translation import gettext_lazy as _, ngettext, pgettext_lazy as p\n"
            "_('one' ' two'); ngettext('%(n)d cat', '%(n)d cats', n); p('verb', 'run'); _(name)\n"
        )
        (tmp_path / "b.html").write_text(
            '{% load i18n %}<p title="x">{% translate "It\'s" %} {% translate "May" context "month" %}</p>'
            '{% blocktranslate count n=n %}{{ n }} "dog"{% plural %}{{ n }} dogs{% endblocktranslate %}<b>Bare</b>'
        )
        assert texts_of(tmp_path) == {
            Text("one two"),
            Text("%(n)d cat", "%(n)d cats"),
            Text("run", context="verb"),
            Text("It's"),
            Text("May", context="month"),
            Text('%(n)s "dog"', "%(n)s dogs"),
        }
        assert untranslatable((tmp_path / "b.html").read_text()) == ["Bare"]


class TestLabels:
    def test_known_kinds_and_verbs_are_shown_in_chinese_and_others_as_they_are(self):
        with override("zh-hans"):
            assert [kind_label(kind) for kind in ("course", "book", "webinar", "")] == ["课程", "图书", "webinar", ""]
            assert [verb_label(verb) for verb in ("completed", "attended")] == ["完成", "attended"]
            assert not set(map(kind_label, COMMON_KINDS)) & set(COMMON_KINDS)
            assert all(not str(verb).isascii() for verb in COMMON_VERBS)

    @pytest.mark.parametrize("translations", [{}, {"zh-hans": {}}, {"zh-hans": "标题"}, ["标题"], None])
    def test_a_resource_without_a_translated_title_keeps_its_own(self, translations):
        with override("zh-hans"):
            assert str(Resource(key="k", title="Title", translations=translations)) == "Title"

    def test_a_resource_is_named_in_the_active_language(self):
        resource = Resource(key="k", title="Title", translations={"zh-hans": {"title": "标题"}})
        with override("zh-hans"):
            assert str(resource) == "标题"
        assert str(resource) == "Title"

    def test_every_verb_of_the_defaults_has_a_label(self):
        from llmrec_django.conf import DEFAULTS

        with override("zh-hans"):
            assert {verb for verb in DEFAULTS["VERBS"] if verb_label(verb) == verb} == set()


@pytest.fixture
def rows(db):
    """A row of every table."""
    one, two = ResourceFactory(kind="book", level="beginner", duration_minutes=30), ResourceFactory(title="Draft")
    learner = InteractionFactory(resource=one, learner__goals="learn").learner
    space = VectorSpace.objects.create(encoder="default", encoder_id="test@1", recipe="1", dimension=2, status="active")
    competency = apps.get_model("llmrec_django", "Competency").objects.create(key="sets", title="Sets")
    one.competency_links.create(competency=competency)
    one.prerequisites.create(requires=two)
    one.vectors.create(space=space, vector=[1, 0], content_hash="c", text_hash="t")
    ProfileVector.objects.create(learner=learner, space=space, vector=[1, 0], content_hash="c")
    EmbeddingClaim.objects.create(
        resource=two, space=space, state="failed", content_hash="c", token="t", lease_until=learner.created_at
    )
    apps.get_model("llmrec_django", "Placement").objects.create(name="home")
    version = apps.get_model("llmrec_django", "ModelVersion").objects.create(source_space=space)
    version.evaluations.create(ndcg=0.1)
    experiment = apps.get_model("llmrec_django", "Experiment").objects.create(name="trial")
    experiment.arms.create(name="control")
    made = learner.recommendation_lists.create(placement="home", experiment=experiment, arm="control", k=1)
    made.items.create(rank=1, resource=one, score=0.5, dismiss_reason="too_hard")
    one.neighbours.create(version=version, source="ease", neighbour_ids=b"", weights=b"")
    make = {
        name: apps.get_model("llmrec_django", name).objects.create
        for name in ("ResourceScreening", "ScreeningReview", "WrittenText", "GoalDraft", "WriterUsage")
    }
    findings = [{"rule": rule, "field": "title", "excerpt": "x"} for rule in RULES]
    apps.get_model("llmrec_django", "EditorialRule").objects.create(name="exams", effect="pin", resource=one)
    make["ResourceScreening"](
        resource=two, status="flagged", content_hash="c", screen_id="s", findings=findings, screened_at=timezone.now()
    )
    make["ScreeningReview"](resource=two, decision="cleared", why="w", reviewer_key="1", content_hash="c")
    make["WrittenText"](resource=one, kind="reason", subject_hash="s", try_after=timezone.now())
    learner.forgotten_deeds.create(resource=two, forgotten_at=timezone.now())
    make["GoalDraft"](learner=learner, text="g", try_after=timezone.now())
    make["WriterUsage"](hour=timezone.now())
    return one


@pytest.fixture
def reader(client, db):
    """A superuser's browser that asks for Chinese."""
    client.force_login(Member.objects.create_superuser("boss@example.org", "secret"))
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "zh-hans"
    return client


@functools.cache
def texts_of_the_app():
    return texts_of(APP)


def english_left(html):
    """Return the longer English texts of ours that a Chinese page still shows."""
    texts = [part for text in texts_of_the_app() for part in (text.msgid, text.plural)]
    words = [text for text in texts if " " in text and "%(" not in text and any(map(str.isalpha, text))]
    return [text for text in words if text in html]


ADMINS = {model: site for model, site in admin.site._registry.items() if model._meta.app_label == "llmrec_django"}


class TestPages:
    @pytest.mark.parametrize("model", ADMINS, ids=lambda model: model.__name__)
    def test_the_admin_is_chinese(self, reader, rows, model):
        name = f"admin:llmrec_django_{model._meta.model_name}"
        row = model.objects.first()
        pages = [reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])]
        if ADMINS[model].has_add_permission(reader.get("/admin/").wsgi_request):
            pages.append(reverse(f"{name}_add"))
            pages.append(reverse(f"{name}_delete", args=[row.pk]))
        if model is Resource:
            pages.append(reverse(f"{name}_similar", args=[row.pk]))
        for address in pages:
            response = reader.get(address)
            assert response.status_code == 200, address
            html = response.content.decode()
            with override("zh-hans"):
                assert str(model._meta.verbose_name) in html, address
            assert "学习推荐" in html, address
            assert english_left(html) == [], address

    def test_the_page_before_forgetting_is_chinese(self, reader, rows):
        learner = LearnerProfile.objects.get()
        response = reader.post(
            reverse("admin:llmrec_django_learnerprofile_changelist"),
            {"action": "forget", "_selected_action": learner.pk},
        )
        html = response.content.decode()
        assert "此操作无法撤销" in html
        assert english_left(html) == []

    def test_a_list_of_recommendations_is_chinese(self, rows, rf):
        template = engines["django"].from_string("{% load llmrec_django %}{% recommend %}")
        with override("zh-hans"):
            html = template.render({}, rf.get("/"))
        for words in ("您可能感兴趣", "图书", "入门", "30 分钟"):
            assert words in html
        with override("en"):
            assert "You may like" in template.render({}, rf.get("/"))
