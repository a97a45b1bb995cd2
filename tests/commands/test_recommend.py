import csv
import gzip
import io

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from llmrec_django.models import Interaction, LearnerProfile, Placement, Resource, ResourceVector, VectorSpace
from tests.testapp.models import Member

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def catalogue(db):
    """Ten resources on a half circle: neighbours in number are neighbours in meaning."""
    space = VectorSpace.objects.create(
        encoder="default", encoder_id="test@1", recipe="1", dimension=2, status="active", activated_at=timezone.now()
    )
    for n in range(10):
        resource = Resource.objects.create(key=f"C{n}", title=f"Course {n}")
        resource.refresh_from_db()
        angle = n * 0.3
        ResourceVector.objects.create(
            resource=resource,
            space=space,
            vector=np.array([np.cos(angle), np.sin(angle)], dtype=np.float32),
            content_hash=resource.content_hash,
            text_hash="t",
        )


def learner_who_viewed(*keys, **identity):
    learner = LearnerProfile.objects.create(**identity)
    for n, key in enumerate(keys):
        Interaction.objects.create(
            learner=learner,
            resource=Resource.objects.get(key=key),
            verb="enrolled",
            occurred_at=timezone.now(),
            event_id=str(n),
        )
    return learner


def rows_of(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return list(csv.DictReader(io.StringIO(text)))


def run(path, *args):
    out = io.StringIO()
    call_command("llmrec_recommend", *args, "--output", str(path), stdout=out)
    return rows_of(path)


def lists(rows):
    found = {}
    for row in rows:
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


def test_every_learner_gets_k_unseen_resources_nearest_first(tmp_path):
    learner_who_viewed("C0", user=Member.objects.create_user("U_1@imported.invalid"))
    learner_who_viewed("C9", visitor_key="import:7")
    rows = run(tmp_path / "run.csv", "-k", "3")
    assert lists(rows) == {"U_1": ["C1", "C2", "C3"], "7": ["C8", "C7", "C6"]}
    assert [row["rank"] for row in rows[:3]] == ["1", "2", "3"]
    scores = [float(row["score"]) for row in rows[:3]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3


def test_without_a_placement_everything_touched_stays_away(tmp_path):
    learner = learner_who_viewed("C0", "C1", "C5", visitor_key="v")
    learner.interactions.update(verb="viewed", occurred_at=timezone.now() - timezone.timedelta(days=900))
    [found] = lists(run(tmp_path / "run.csv", "-k", "10")).values()
    assert set(found) == {"C2", "C3", "C4", "C6", "C7", "C8", "C9"}


def test_a_placement_applies_its_rules(tmp_path):
    Placement.objects.create(name="again", seen="show", diversity=0)
    learner_who_viewed("C0", visitor_key="v")
    assert lists(run(tmp_path / "run.csv", "-k", "2", "--placement", "again")) == {"v": ["C0", "C1"]}


def test_an_unknown_placement_is_an_error(tmp_path):
    Placement.objects.create(name="home")
    with pytest.raises(CommandError, match="known: home"):
        run(tmp_path / "run.csv", "--placement", "hime")
    assert not list(tmp_path.iterdir())


def test_among_restricts_the_candidates(tmp_path):
    (tmp_path / "among.csv").write_text("item_id\nC9\nC4\nC0\nnone\n")
    learner_who_viewed("C0", visitor_key="v")
    assert lists(run(tmp_path / "run.csv", "--among", str(tmp_path / "among.csv"))) == {"v": ["C4", "C9"]}


def test_among_without_a_known_resource_is_an_error(tmp_path):
    (tmp_path / "among.csv").write_text("item_id\nnone\n")
    with pytest.raises(CommandError, match="None of its 1 item ids"):
        run(tmp_path / "run.csv", "--among", str(tmp_path / "among.csv"))


def test_learners_of_a_file_keep_its_order_and_newcomers_get_a_list(tmp_path):
    member = Member.objects.create_user("ada@example.org")
    learner_who_viewed("C0", user=member)
    learner_who_viewed("C9", visitor_key="import:7")
    learner_who_viewed("C5", visitor_key="cookie")
    (tmp_path / "users.csv").write_text("user_id,item_id\n7,x\nnew,x\nada@example.org,x\ncookie,x\n7,y\n")
    found = lists(run(tmp_path / "run.csv", "-k", "1", "--users", str(tmp_path / "users.csv")))
    assert list(found) == ["7", "new", "ada@example.org", "cookie"]
    assert (found["7"], found["ada@example.org"]) == (["C8"], ["C1"])
    assert found["new"]
    assert LearnerProfile.objects.count() == 3  # asking makes nobody


def test_other_tenants_are_left_out(tmp_path):
    learner_who_viewed(visitor_key="here")
    LearnerProfile.objects.create(visitor_key="there", tenant="other")
    assert list(lists(run(tmp_path / "run.csv", "-k", "1"))) == ["here"]


def test_gzip_and_standard_output(tmp_path, capsys):
    learner_who_viewed("C0", visitor_key="v")
    assert len(run(tmp_path / "run.csv.gz", "-k", "2")) == 2
    call_command("llmrec_recommend", "-k", "2")
    assert capsys.readouterr().out.splitlines()[0] == "user_id,item_id,rank,score"


def test_a_file_appears_complete_or_not_at_all(tmp_path, monkeypatch):
    learner_who_viewed("C0", visitor_key="v")
    (tmp_path / "run.csv").write_text("the run before")

    def fail(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmrec_django.services.batch.recommend_batch", fail)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run.csv")
    assert (tmp_path / "run.csv").read_text() == "the run before"
    assert len(list(tmp_path.iterdir())) == 1


def test_many_pages_of_learners(tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec_django.services.batch.PAGE", 3)
    LearnerProfile.objects.bulk_create([LearnerProfile(visitor_key=f"v{n}") for n in range(10)])
    assert len(lists(run(tmp_path / "run.csv", "-k", "1"))) == 10


def test_k_is_at_least_one(tmp_path):
    with pytest.raises(CommandError, match="at least 1"):
        run(tmp_path / "run.csv", "-k", "0")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CommandError, match="Cannot write"):
        run(tmp_path / "no" / "run.csv")
