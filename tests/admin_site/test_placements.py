from django.urls import reverse

from llmrec_django.models import Experiment, Placement


def test_a_placement_is_made_and_changed(boss):
    data = {"tenant": "default", "name": "home", "enabled": "on", "size": 5, "diversity": 0.5, "seen": "hide"}
    data |= {"kinds": "course, video", "languages": ""}
    data |= {"explore_places": 1, "explore_pool": 20, "explore_by": "uniform", "experiment": ""}
    assert boss.post(reverse("admin:llmrec_django_placement_add"), data).status_code == 302
    placement = Placement.objects.get()
    assert (placement.kinds, placement.languages, placement.size) == (["course", "video"], [], 5)
    address = reverse("admin:llmrec_django_placement_change", args=[placement.pk])
    response = boss.post(address, data | {"diversity": 2})
    assert "diversity" in response.context["adminform"].form.errors
    elsewhere = Experiment.objects.create(name="elsewhere", tenant="other")
    response = boss.post(address, data | {"explore_places": 6, "experiment": elsewhere.pk})
    assert set(response.context["adminform"].form.errors) == {"explore_places", "experiment"}
