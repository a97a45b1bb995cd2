"""The buttons of django-import-export, which tests.settings installs."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.urls import reverse

from llmrec_django.models import Resource

IMPORT = "admin:llmrec_django_resource_import"
EXPORT = "admin:llmrec_django_resource_export"


def upload(browser, text):
    """Upload a file, confirm, and return the last page."""
    page = browser.get(reverse(IMPORT))
    csv_format = next(key for key, name in page.context["form"].fields["format"].choices if name == "csv")
    file = SimpleUploadedFile("items.csv", text.encode(), "text/csv")
    page = browser.post(reverse(IMPORT), {"format": csv_format, "import_file": file, "resource": ""})
    confirm = page.context.get("confirm_form")
    if confirm is None:
        return page
    return browser.post(
        reverse("admin:llmrec_django_resource_process_import"),
        {name: confirm[name].value() or "" for name in confirm.fields},
        follow=True,
    )


def export(browser):
    page = browser.get(reverse(EXPORT))
    csv_format = next(key for key, name in page.context["form"].fields["format"].choices if name == "csv")
    data = {"format": csv_format, "resource": ""}
    data |= {name: "on" for name in page.context["form"].fields if name.startswith("catalogueresource_")}
    return browser.post(reverse(EXPORT), data)


def test_a_file_creates_and_updates(boss, make_resource):
    make_resource("C1", description="kept")
    upload(boss, 'item_id,title,keywords,author\nC1,New,"a;b",\nC2,Second,,"Doe, Jane;Roe"\n')
    rows = {resource.key: resource for resource in Resource.objects.all()}
    assert (rows["C1"].title, rows["C1"].description, rows["C1"].keywords) == ("New", "kept", ["a", "b"])
    assert (rows["C2"].authors, rows["C2"].tenant, rows["C2"].published) == (["Doe, Jane", "Roe"], "default", True)


def test_a_row_with_an_error_is_shown_and_nothing_imported(boss):
    page = upload(boss, "item_id,title,level\nC1,x,expert\nC2,y,\n")
    assert "must be one of: beginner" in page.content.decode()
    assert not Resource.objects.exists()


def test_an_export_can_be_imported_by_the_command(boss, make_resource, tmp_path):
    make_resource(
        "C1",
        title="=1+1",
        authors=["Doe, Jane"],
        keywords=["a", "b"],
        translations={"zh-hans": {"title": "题"}},
        published=False,
        duration_minutes=5,
        url="/c/1",
    )
    before = Resource.objects.values().get()
    response = export(boss)
    Resource.objects.all().delete()
    (tmp_path / "items.csv").write_bytes(response.content)
    call_command("llmrec_import", "resources", str(tmp_path / "items.csv"), verbosity=0)
    after = Resource.objects.values().get()
    changing = {"id", "created_at", "updated_at"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }


@pytest.mark.parametrize(
    ("permissions", "may_import", "may_export"),
    [
        (["view_resource"], False, True),
        (["view_resource", "change_resource"], False, True),
        (["view_resource", "change_resource", "add_resource"], True, True),
        ([], False, False),
    ],
)
def test_who_may(staff_with, permissions, may_import, may_export):
    browser = staff_with(*permissions)
    assert (browser.get(reverse(IMPORT)).status_code == 200) is may_import
    assert (browser.get(reverse(EXPORT)).status_code == 200) is may_export
