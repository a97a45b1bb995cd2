import io

import pytest
from django.core.management import CommandError, call_command

from llmrec_django.models import Competency, Prerequisite, Resource, ResourceCompetency

pytestmark = pytest.mark.django_db

HEADER = "item_id,title,description,author,keywords,language\n"


def run(what, path, *args, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command("llmrec_import", what, path, *args, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def stored():
    return {resource.key: resource for resource in Resource.objects.all()}


def test_the_common_columns(write):
    out, err = run("resources", write("i.csv", HEADER + 'C1,Logic,"An, intro","Doe, Jane;Roe",sets|proofs,zh_Hans\n'))
    resource = stored()["C1"]
    assert (resource.title, resource.description, resource.language) == ("Logic", "An, intro", "zh-hans")
    assert (resource.authors, resource.keywords) == (["Doe, Jane", "Roe"], ["sets", "proofs"])
    assert "1 rows: 1 created, 0 with errors" in out
    assert err == ""


def test_every_further_column(write):
    row = {
        "item_id": 7,
        "title": "T",
        "kind": "Book",
        "level": "Advanced",
        "url": "/b/7",
        "publisher": "P",
        "duration_minutes": "90",
        "image": "https://example.org/7.png",
        "license": "CC BY",
        "published": "no",
        "translations": {"zh_Hans": {"title": "题"}},
        "body": "text",
        "extra": {"isbn": "1"},
        "available_from": "2020-01-01T00:00:00Z",
        "available_until": "2030-01-01T00:00:00Z",
        "authors": ["A, B"],
    }
    run("resources", write("i.jsonl", [row]))
    resource = stored()["7"]
    assert (resource.kind, resource.level, resource.duration_minutes) == ("book", "advanced", 90)
    assert (resource.published, resource.translations) == (False, {"zh-hans": {"title": "题"}})
    assert (resource.authors, resource.extra, resource.available_until.year) == (["A, B"], {"isbn": "1"}, 2030)


def test_an_item_without_a_title_shows_its_key_and_stores_none(write):
    run("resources", write("i.csv", HEADER + "C1,,,,,\n"))
    resource = stored()["C1"]
    assert str(resource) == "C1"
    assert resource.title == ""  # the encoder must not see the key


def test_importing_again_writes_nothing(write):
    path = write("i.csv", HEADER + "C1,Logic,,,a;b,en\n")
    run("resources", path)
    before = stored()["C1"].updated_at
    out, _ = run("resources", path)
    assert "1 unchanged" in out
    assert stored()["C1"].updated_at == before


def test_columns_set_fields_and_absent_columns_leave_them(write):
    run("resources", write("a.csv", HEADER + "C1,Logic,About,,a,en\n"))
    before = stored()["C1"]
    out, _ = run("resources", write("b.csv", "item_id,title,keywords\nC1,New,\nC2,Other,\n"))
    after = stored()["C1"]
    assert "1 created, 1 updated" in out
    assert (after.title, after.keywords, after.description) == ("New", [], "About")
    assert after.content_hash != before.content_hash
    assert after.updated_at > before.updated_at


def test_rows_of_json_lines_may_have_different_columns(write):
    run("resources", write("a.jsonl", [{"item_id": "a", "title": "A", "kind": "book"}, {"item_id": "b", "title": "B"}]))
    run("resources", write("b.jsonl", [{"item_id": "a", "description": "x"}, {"item_id": "b", "title": "B2"}]))
    rows = stored()
    assert (rows["a"].title, rows["a"].description, rows["a"].kind) == ("A", "x", "book")
    assert (rows["b"].title, rows["b"].description, rows["b"].kind) == ("B2", "", "course")


def test_the_later_of_two_rows_with_one_key_counts(write):
    out, _ = run("resources", write("i.csv", "item_id,title\nC1,First\nC1,Second\n"))
    assert stored()["C1"].title == "Second"
    assert "1 created, 1 repeated" in out


def test_tenants_do_not_share_keys(write):
    path = write("i.csv", "item_id,title\nC1,x\n")
    run("resources", path, "--tenant", "one")
    run("resources", path, "--tenant", "two")
    assert set(Resource.objects.values_list("tenant", "key")) == {("one", "C1"), ("two", "C1")}


BAD = """item_id,title,language,level,url,duration_minutes,published,available_from,available_until
,no key,,,,,,,
C1,good,,,,,,,
C2,,English!,,,,,,
C3,,,expert,,,,,
C4,,,,javascript:alert(1),,,,
C5,,,,,-3,,,
C6,,,,,,maybe,,
C7,,,,,,,2030-01-01,2020-01-01
C8,good,,,,,,,
"""


def test_rows_with_errors_are_named_and_the_others_imported(write):
    out, err = run("resources", write("i.csv", BAD))
    assert set(stored()) == {"C1", "C8"}
    fields = {2: "item_id", 4: "language", 5: "level", 6: "url", 7: "duration_minutes", 8: "published"}
    for line, field in {**fields, 9: "available_until"}.items():
        assert f"line {line}, {field}: " in err
    assert "9 rows: 2 created, 7 with errors" in out


def test_strict_imports_nothing(write):
    with pytest.raises(CommandError, match="7 rows have errors"):
        run("resources", write("i.csv", BAD), "--strict")
    assert not Resource.objects.exists()


def test_strict_without_errors_imports_all(write):
    run("resources", write("i.csv", "item_id\nC1\n"), "--strict")
    assert set(stored()) == {"C1"}


def test_a_dry_run_stores_nothing(write):
    out, _ = run("resources", write("i.csv", BAD), "--dry-run")
    assert "2 created" in out
    assert "Dry run" in out
    assert not Resource.objects.exists()


def test_what_only_the_database_refuses_costs_its_row_alone(write):
    # A word list that exceeds what a full-text column holds.
    rows = [{"item_id": f"C{n}", "title": "x"} for n in range(20)]
    rows[7]["translations"] = {"en": {"title": " ".join(f"w{n:06}" for n in range(150_000))}}
    out, err = run("resources", write("i.jsonl", rows))
    assert len(stored()) + out.count("1 with errors") == 20
    assert ("line 8" in err) == ("C7" not in stored())


def test_all_errors_go_to_a_file(write, tmp_path):
    path = write("i.csv", "item_id,level\n" + "".join(f"C{n},x\n" for n in range(30)) + "good,\n")
    _, err = run("resources", path, "--errors", str(tmp_path / "e.csv"))
    assert "… and 10 more" in err
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 31


def test_a_file_of_errors_only_fails(write):
    with pytest.raises(CommandError, match="every row has an error"):
        run("resources", write("i.csv", "item_id,level\nC1,x\n"))


def test_a_missing_column_is_named_beside_what_was_found(write):
    with pytest.raises(CommandError, match=r"column item_id is missing. Found: id, title"):
        run("resources", write("i.csv", "id,title\n1,x\n"))


def test_columns_that_nothing_reads_are_named(write):
    out, _ = run("resources", write("i.csv", "item_id,titel\n1,x\n"))
    assert "Columns not read: titel" in out


def test_verbosity_zero_is_silent(write):
    out, _ = run("resources", write("i.csv", "item_id\n1\n"), verbosity=0)
    assert out == ""


def test_batches_are_written_on_the_way(write):
    path = write("i.csv", "item_id\n" + "".join(f"C{n}\n" for n in range(2500)))
    out, _ = run("resources", path)
    assert "2,500 created" in out
    assert Resource.objects.count() == 2500


def test_competencies_and_what_teaches_them(write):
    run("resources", write("i.csv", "item_id\nC1\n"))
    header = "competency_id,title,item_id,relation,strength\n"
    content = header + "k,Proof,C1,assesses,0.5\nk,,C1,teaches,\nl,,nope,,\nm,,C1,eats,\n"
    _, err = run("competencies", write("c.csv", content))
    assert Competency.objects.get().title == "Proof"
    links = ResourceCompetency.objects.values_list("relation", "strength")
    assert set(links) == {("assesses", 0.5), ("teaches", 1.0)}
    assert "line 4, item_id" in err
    assert "line 5, relation" in err
    out, _ = run("competencies", write("d.csv", "competency_id,title\nk,Proofs\n"))
    assert Competency.objects.get().title == "Proofs"
    assert "1 updated" in out


def test_prerequisites(write):
    run("resources", write("i.csv", "item_id\nC1\nC2\n"))
    content = "item_id,requires_item_id,strength\nC2,C1,0.5\nC1,C1,\nC1,no,\nC1,C2,7\n"
    _, err = run("prerequisites", write("p.csv", content))
    [link] = Prerequisite.objects.all()
    assert (link.resource.key, link.requires.key, link.strength) == ("C2", "C1", 0.5)
    assert "line 3, requires_item_id: is the resource itself" in err
    assert "line 4, requires_item_id: no resource" in err
    assert "line 5, strength: 7 is not between 0 and 1" in err
    out, _ = run("prerequisites", write("p.csv", "item_id,requires_item_id,strength\nC2,C1,1\n"))
    assert "1 updated" in out
