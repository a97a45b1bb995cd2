"""Editorial rules in the admin: made, read and refused in an editor's words."""

from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from llmrec_django.models import EditorialRule, Placement
from llmrec_django.testing.factories import ResourceFactory

ADD = "admin:llmrec_django_editorialrule_add"
CHANGE = "admin:llmrec_django_editorialrule_change"
LIST = "admin:llmrec_django_editorialrule_changelist"


@pytest.fixture(autouse=True)
def _fresh_cache():
    cache.clear()
    yield
    cache.clear()


def filled(**fields):
    return {"tenant": "default", "name": "Wish", "effect": "pin", "strength": 0.5, "enabled": "on", **fields}


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_an_editor_makes_a_rule_and_sees_what_it_is_about(boss):
    resource, place = ResourceFactory(title="Exam skills"), Placement.objects.create(name="home")
    data = filled(name="Exam weeks", placement=place.pk, reason="Exams begin.")
    response = boss.post(reverse(ADD), data)
    assert response.status_code == 200, "a rule must be about something"
    assert not EditorialRule.objects.exists()
    assert boss.post(reverse(ADD), data | {"resource": resource.pk}).status_code == 302
    assert boss.post(reverse(ADD), data | {"name": "Old books", "effect": "bury", "kind": "book"}).status_code == 302
    page = boss.get(reverse(LIST)).content.decode()
    assert "Exam skills" in page
    assert "book" in page
    assert EditorialRule.objects.get(name="Exam weeks").placement == place


class TestReasonsInOtherLanguages:
    def test_are_written_one_a_line_and_read_back_so(self, boss):
        lines = "zh-hans： 周五截止：别错过。\n\n DE: Bis Freitag.\n"
        boss.post(reverse(ADD), filled(kind="book", reason="By Friday.", reason_translations=lines))
        rule = EditorialRule.objects.get()
        assert rule.reason_translations == {"zh-hans": "周五截止：别错过。", "de": "Bis Freitag."}
        page = boss.get(reverse(CHANGE, args=[rule.pk])).content.decode()
        assert "de: Bis Freitag.\nzh-hans: 周五截止：别错过。" in page

    @pytest.mark.parametrize(
        "lines", ["Friday", "zh-hans:", "the exams: on Friday", "de: a\nDE: b", f"de: {'x' * 201}", '{"de": "x"}']
    )
    def test_what_is_no_such_line_is_refused_with_the_line(self, boss, lines):
        response = boss.post(reverse(ADD), filled(kind="book", reason_translations=lines))
        assert response.status_code == 200
        assert response.context["adminform"].form.errors.keys() == {"reason_translations"}
        assert not EditorialRule.objects.exists()


class TestWhatIsToldWhenARuleIsSaved:
    def test_how_many_resources_fit(self, boss):
        ResourceFactory.create_batch(2, kind="book")
        ResourceFactory(kind="book", published=False)
        ResourceFactory(kind="book", tenant="other")
        response = boss.post(reverse(ADD), filled(kind="book"))
        assert "2 published resources fit this rule now." in said(response)

    def test_that_none_fits(self, boss):
        ResourceFactory(kind="book")
        response = boss.post(reverse(ADD), filled(kind="Books"))
        assert any("No published resource fits" in text for text in said(response))

    def test_nothing_of_one_that_names_its_resource(self, boss):
        response = boss.post(reverse(ADD), filled(resource=ResourceFactory().pk))
        assert len(said(response)) == 1, "that it was added"


def test_the_list_says_which_rules_count_now(boss):
    now = timezone.now()
    for name, fields in {
        "counts": {},
        "off": {"enabled": False},
        "over": {"ends_at": now - timedelta(days=1)},
        "to come": {"starts_at": now + timedelta(days=1)},
    }.items():
        EditorialRule.objects.create(name=name, effect="bury", kind="book", **fields)
    rows = boss.get(reverse(LIST)).context["cl"].result_list
    admin = boss.get(reverse(LIST)).context["cl"].model_admin
    assert {row.name: admin.is_in_force(row) for row in rows} == {
        "counts": True,
        "off": False,
        "over": False,
        "to come": False,
    }


def test_the_form_says_how_many_places_pins_may_take(boss, settings):
    settings.LLMREC = {**settings.LLMREC, "MOST_PINNED": 3}
    assert "3 places of a list at most go to what is shown first." in boss.get(reverse(ADD)).content.decode()


def test_who_may_only_look_sees_the_rule(staff_with):
    rule = EditorialRule.objects.create(name="wish", effect="bury", kind="book", reason_translations={"de": "Alt."})
    staff = staff_with("view_editorialrule")
    assert "Alt." in staff.get(reverse(CHANGE, args=[rule.pk])).content.decode()
    assert staff.get(reverse(ADD)).status_code == 403
