from django.urls import reverse

from llmrec_django.models import EditorialRule, Placement
from llmrec_django.testing.factories import ResourceFactory


def test_an_editor_makes_a_rule_and_sees_what_it_is_about(boss):
    resource, place = ResourceFactory(title="Exam skills"), Placement.objects.create(name="home")
    add = reverse("admin:llmrec_django_editorialrule_add")
    data = {"tenant": "default", "name": "Exam weeks", "effect": "pin", "strength": 0.5, "enabled": "on"}
    data |= {"resource": "", "placement": place.pk, "reason": "Exams begin.", "reason_translations": "{}"}
    response = boss.post(add, data)
    assert response.status_code == 200, "a rule must be about something"
    assert not EditorialRule.objects.exists()
    assert boss.post(add, data | {"resource": resource.pk}).status_code == 302
    assert boss.post(add, data | {"name": "Old books", "effect": "bury", "kind": "book"}).status_code == 302
    page = boss.get(reverse("admin:llmrec_django_editorialrule_changelist")).content.decode()
    assert "Exam skills" in page
    assert "book" in page
    assert EditorialRule.objects.get(name="Exam weeks").placement == place
