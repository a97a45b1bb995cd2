import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.services.importing import accounts, import_interactions
from tests.testapp.models import Member

pytestmark = pytest.mark.django_db

HEADER = "user_id,item_id,timestamp,event,value\n"


def run(path, *args, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command("llmrec_import", "interactions", path, *args, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def catalogue(db):
    Resource.objects.bulk_create([Resource(key=f"C{n}", title=f"Course {n}") for n in range(5)])


def told():
    rows = Interaction.objects.order_by("id").select_related("resource", "learner")
    return [(row.resource.key, row.verb, row.value) for row in rows]


class TestRows:
    def test_events_values_and_times(self, write):
        content = (
            HEADER + "u,C0,1500000000,enroll,1\nu,C1,2017-07-15T00:00:00Z,rate,4\nu,C2,,progress,0.25\nu,C3,,View,9\n"
        )
        run(write("t.csv", content), "--create-users")
        assert told() == [
            ("C0", "enrolled", None),
            ("C1", "rated", 0.75),
            ("C2", "progressed", 0.25),
            ("C3", "viewed", None),
        ]
        rows = list(Interaction.objects.order_by("id"))
        assert rows[0].occurred_at.timestamp() == 1500000000
        assert (timezone.now() - rows[2].occurred_at).total_seconds() < 60
        assert {row.source for row in rows} == {"import"}

    def test_importing_again_adds_nothing(self, write):
        path = write("t.csv", HEADER + "u,C0,1500000000,enroll,1\nu,C0,,view,\nu,C1,1500000000,rate,4\n")
        run(path, "--create-users")
        out, _ = run(path, "--create-users")
        assert "3 known" in out
        assert Interaction.objects.count() == 3

    def test_the_same_event_in_other_words_is_the_same(self, write):
        run(write("a.csv", HEADER + "u,C0,1500000000,enroll,1\n"), "--create-users")
        run(write("b.csv", HEADER + "u,C0,2017-07-14T02:40:00Z,Enrolled,\n"))
        assert Interaction.objects.count() == 1

    def test_an_event_id_decides(self, write):
        header = "user_id,item_id,event,event_id\n"
        run(write("a.csv", header + "u,C0,view,1\nu,C0,view,2\nu,C1,view,2\n"), "--create-users")
        assert [key for key, _, _ in told()] == ["C0", "C0"]

    def test_another_source_counts_again(self, write):
        path = write("t.csv", HEADER + "u,C0,1500000000,enroll,1\n")
        run(path, "--create-users")
        run(path, "--source", "archive")
        assert set(Interaction.objects.values_list("source", flat=True)) == {"import", "archive"}

    def test_ties_and_rows_without_a_clock_keep_the_order_of_the_file(self, write, monkeypatch):
        monkeypatch.setattr("llmrec_django.services.importing.interactions.BATCH", 3)
        order = ["C3", "C1", "C4", "C0", "C2"]
        run(write("a.csv", HEADER + "".join(f"a,{key},1500000000,view,\n" for key in order)), "--create-users")
        run(write("b.csv", HEADER + "".join(f"b,{key},,view,\n" for key in order)), "--create-users")
        for name in ("a", "b"):
            learner = LearnerProfile.objects.get(user__email=f"{name}@imported.invalid")
            history = learner.interactions.newest_first().values_list("resource__key", flat=True)
            assert list(history) == order[::-1]

    def test_errors_are_named_by_line_and_the_rest_imported(self, write):
        content = HEADER + (
            "u,C0,1500000000,enroll,1\n"
            "u,nope,1500000000,enroll,1\n"
            ",C0,1500000000,enroll,1\n"
            "u,C1,soon,enroll,1\n"
            "u,C1,,jump,\n"
            "u,C1,,rate,9\n"
            "u,C1,,rate,\n"
            "u,C1,,progress,50\n"
            "u,C1,4102444800,view,\n"
            "u,C1,,search,\n"
            "u,C2,1500000000,enroll,1\n"
        )
        out, err = run(write("t.csv", content), "--create-users")
        assert [key for key, _, _ in told()] == ["C0", "C2"]
        expected = {
            3: "item_id: no resource has the key 'nope'",
            4: "user_id: is empty",
            5: "timestamp: 'soon' is neither",
            6: "event: 'jump' is no known event, must be one of: bookmarked",
            7: "value: 9 is not on the rating scale 1 to 5",
            8: "value: is empty, but a rating needs one",
            9: "value: 50 is not between 0 and 1",
            10: "timestamp: '4102444800' lies in the future",
            11: "event: 'search' is no known event",
        }
        for line, message in expected.items():
            assert f"line {line}, {message}" in err
        assert "11 rows" in out
        assert "9 with errors" in out

    def test_strict_leaves_no_account_behind_either(self, write):
        with pytest.raises(CommandError):
            run(write("t.csv", HEADER + "u,C0,,view,\nu,no,,view,\n"), "--create-users", "--strict")
        assert not Interaction.objects.exists()
        assert not LearnerProfile.objects.exists()
        assert not Member.objects.exists()

    def test_a_learner_who_opted_out_stays_out(self, write):
        path = write("t.csv", HEADER + "u,C0,,view,\n")
        run(path, "--create-users")
        LearnerProfile.objects.update(personalise=False)
        out, _ = run(write("s.csv", HEADER + "u,C1,,view,\n"))
        assert "1 opted out" in out
        assert Interaction.objects.count() == 1

    def test_the_rating_scale_is_a_setting(self, write, settings):
        settings.LLMREC = {"RATING_SCALE": (0, 10)}
        run(write("t.csv", HEADER + "u,C0,,rate,5\n"), "--create-users")
        assert told() == [("C0", "rated", 0.5)]

    def test_columns_are_needed(self, write):
        with pytest.raises(CommandError, match="column item_id, event is missing. Found: user_id, course"):
            run(write("t.csv", "user_id,course\nu,C0\n"))

    def test_statements_do_not_grow_with_the_rows(self, write):
        def count(n):
            rows = "".join(f"u{i % 40},C{i % 5},{1500000000 + i},view,\n" for i in range(n))
            path = write(f"{n}.csv", HEADER + rows)
            with CaptureQueriesContext(connection) as queries:
                import_interactions(path, create_users=True)
            return len(queries)

        count(40)  # makes the accounts
        assert count(41) == count(400)


class TestLearners:
    def test_ids_become_accounts_without_a_password(self, write):
        out, _ = run(
            write("t.csv", HEADER + "U_1,C0,,view,\nU_1,C1,,view,\nada@example.org,C0,,view,\n"), "--create-users"
        )
        assert "2 accounts created" in out
        assert set(Member.objects.values_list("email", flat=True)) == {"U_1@imported.invalid", "ada@example.org"}
        assert not any(member.has_usable_password() for member in Member.objects.all())
        assert LearnerProfile.objects.count() == 2

    def test_accounts_are_found_by_name_then_by_key(self, write):
        named = Member.objects.create_user("ada@example.org")
        keyed = Member.objects.create_user("bob@example.org")
        content = HEADER + f"ada@example.org,C0,,view,\n{keyed.pk},C0,,view,\n{keyed.pk.hex},C1,,view,\n"
        run(write("t.csv", content))
        assert set(Interaction.objects.values_list("learner__user", "resource__key")) == {
            (named.pk, "C0"),
            (keyed.pk, "C0"),
            (keyed.pk, "C1"),
        }

    def test_with_create_users_a_key_is_not_an_id(self, write):
        boss = Member.objects.create_user("boss@example.org")
        run(write("t.csv", HEADER + f"{boss.pk},C0,,view,\n"), "--create-users")
        assert Interaction.objects.get().learner.user_id != boss.pk

    def test_unknown_ids_are_errors(self, write):
        Member.objects.create_user("ada@example.org")
        _, err = run(write("t.csv", HEADER + "ada@example.org,C0,,view,\nnobody,C0,,view,\n"))
        assert "line 3, user_id: 'nobody': no account has this name; use --create-users or --visitors" in err
        assert not Member.objects.filter(email__contains="nobody").exists()

    def test_visitors_keep_what_has_no_account(self, write):
        Member.objects.create_user("ada@example.org")
        path = write("t.csv", HEADER + "ada@example.org,C0,,view,\n7,C0,,view,\n")
        run(path, "--visitors")
        run(path, "--visitors")
        assert Interaction.objects.count() == 2
        assert LearnerProfile.objects.get(user=None).visitor_key == "import:7"

    def test_an_id_that_cannot_be_a_name(self, write):
        _, err = run(write("t.csv", HEADER + "a b@c d,C0,,view,\nu,C0,,view,\n"), "--create-users")
        assert "line 2, user_id: 'a b@c d': cannot be the name of an account" in err
        assert Interaction.objects.count() == 1

    def test_create_users_is_for_interactions(self, write):
        with pytest.raises(CommandError, match="are for interactions"):
            call_command("llmrec_import", "resources", write("i.csv", "item_id\n1\n"), "--create-users")


class TestRequiredFields:
    """What a user model may ask for beside its name; the models have no table."""

    def fields_of(self, monkeypatch, **fields):
        name = f"Account{len(fields)}{'_'.join(fields)}"
        attributes = {
            "__module__": "tests.testapp.models",
            "Meta": type("Meta", (), {"app_label": "required_fields"}),
            "USERNAME_FIELD": "login",
            "login": models.CharField(max_length=20, unique=True),
            **fields,
        }
        model = type(name, (models.Model,), attributes)
        finder = accounts.LearnerFinder(tenant="default", create_users=True)
        monkeypatch.setattr(finder, "model", model)
        return finder._required_fields()

    def test_mails_that_must_be_there_or_differ_lead_nowhere(self, monkeypatch):
        made = self.fields_of(
            monkeypatch,
            email=models.EmailField(),
            work_mail=models.EmailField(unique=True, blank=True),
            other_mail=models.EmailField(blank=True),
        )
        assert {name: make("u1") for name, make in made.items()} == {
            "email": "u1@imported.invalid",
            "work_mail": "u1@imported.invalid",
        }

    def test_text_is_empty_or_the_id_where_it_must_differ(self, monkeypatch):
        made = self.fields_of(
            monkeypatch,
            full_name=models.CharField(max_length=50),
            number=models.CharField(max_length=50, unique=True),
            note=models.TextField(blank=True),
            optional=models.IntegerField(null=True),
            joined=models.DateTimeField(auto_now_add=True),
            kind=models.IntegerField(default=1),
        )
        assert {name: make("u1") for name, make in made.items()} == {"full_name": "", "number": "u1"}

    def test_what_cannot_be_made_up_is_named(self, monkeypatch):
        with pytest.raises(accounts.CannotCreateAccounts, match=r"born must be given.*--visitors"):
            self.fields_of(monkeypatch, born=models.DateField())
