"""From the learner ids of a file to learner profiles, many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import router, transaction
from django.db.models import CharField, EmailField, TextField

from llmrec_django.exceptions import LLMRecError
from llmrec_django.models import LearnerProfile

if TYPE_CHECKING:
    from collections.abc import Iterable

INVALID_DOMAIN = "imported.invalid"
"""Reserved by RFC 2606: mail to it never reaches anyone."""
VISITOR_PREFIX = "import:"


class CannotCreateAccounts(LLMRecError):
    """The host's user model needs values that a learner id cannot supply."""


@dataclass(frozen=True, slots=True)
class Learner:
    """What an import needs to know of a profile."""

    id: int
    personalise: bool


def username_for(learner_id: str) -> str:
    """Return the USERNAME_FIELD value of the account an import makes for a learner id."""
    model: Any = get_user_model()
    field = model._meta.get_field(model.USERNAME_FIELD)
    if isinstance(field, EmailField) and "@" not in learner_id:
        return f"{learner_id}@{INVALID_DOMAIN}"
    normalise = getattr(model, "normalize_username", str)
    return str(normalise(learner_id))


def learner_id_of(username: str) -> str:
    """Return the learner id behind a username: the inverse of `username_for`."""
    return username.removesuffix(f"@{INVALID_DOMAIN}")


def load_accounts(learners: Iterable[LearnerProfile]) -> None:
    """Load the accounts of a page of learners in one query; no join, they may live in another database."""
    model: Any = get_user_model()
    learners = [learner for learner in learners if learner.user_id is not None]
    accounts = model._base_manager.in_bulk({learner.user_id for learner in learners})
    field = LearnerProfile._meta.get_field("user")
    for learner in learners:
        field.set_cached_value(learner, accounts.get(learner.user_id))


class LearnerFinder:
    """Finds the profiles of learner ids, and makes them.

    An id is the USERNAME_FIELD of an account or, where accounts are not created, its primary key. With
    `create_users` a primary key is never taken for an id: "1" of a foreign file is not your account number 1.
    """

    def __init__(self, *, tenant: str, create_users: bool = False, visitors: bool = False) -> None:
        self.tenant = tenant
        self.create_users = create_users
        self.visitors = visitors
        self.alias = router.db_for_write(LearnerProfile)
        self.model: Any = get_user_model()
        self.user_alias = router.db_for_write(self.model)
        self.n_created_users = 0
        self.problems: dict[str, str] = {}
        """Learner id → why there is no learner for it."""

    def find(self, learner_ids: Iterable[str]) -> dict[str, Learner]:
        """Return the learners of the ids that have one; `problems` says why the others have not.

        A fixed number of queries for any number of ids.
        """
        ids = set(learner_ids)
        self.problems = {}
        accounts = self.find_accounts(ids)
        missing = ids - accounts.keys()
        if missing and self.create_users:
            self._create(missing)
            accounts.update(self._by_username(missing))
        found = self._profiles("user_id", accounts)
        missing = ids - accounts.keys()
        if self.visitors:
            found.update(self._profiles("visitor_key", {name: VISITOR_PREFIX + name for name in missing}))
        for name in missing - found.keys() - self.problems.keys():
            self.problems[name] = "no account has this name; use --create-users or --visitors"
        return found

    def find_accounts(self, ids: set[str]) -> dict[str, Any]:
        """Return {learner id: account key} of the ids that have an account."""
        accounts = self._by_username(ids)
        missing = ids - accounts.keys()
        if missing and not self.create_users:
            accounts.update(self._by_key(missing))
        return accounts

    def _users(self) -> Any:
        return self.model._base_manager.using(self.user_alias)

    def _by_username(self, ids: set[str]) -> dict[str, Any]:
        """Return {learner id: account key}: first by the id as it stands, then by `username_for`."""
        field = self.model.USERNAME_FIELD
        names = ids | {username_for(name) for name in ids}
        keys = dict(self._users().filter(**{f"{field}__in": names}).values_list(field, "pk"))
        return {
            name: keys[name] if name in keys else keys[username_for(name)]
            for name in ids
            if name in keys or username_for(name) in keys
        }

    def _by_key(self, ids: set[str]) -> dict[str, Any]:
        field = self.model._meta.pk
        wanted: dict[str, Any] = {}
        for name in ids:
            try:
                key = field.to_python(name)
            except (ValidationError, ValueError, OverflowError):
                continue
            if isinstance(key, int) and abs(key) >= 2**63:  # no column holds it, and the database would complain
                continue
            # "007" is not account 7: the text must be the key's own.
            if name.lower() in (str(key), str(key).replace("-", "")):
                wanted[name] = key
        there = set(self._users().filter(pk__in=set(wanted.values())).values_list("pk", flat=True))
        return {name: key for name, key in wanted.items() if key in there}

    def _create(self, ids: set[str]) -> None:
        filled = self._required_fields()
        field = self.model._meta.get_field(self.model.USERNAME_FIELD)
        users = []
        for name in sorted(ids):
            username = username_for(name)
            try:
                field.run_validators(username)
            except ValidationError as exc:
                self.problems[name] = f"cannot be the name of an account: {' '.join(exc.messages)}"
                continue
            user = self.model(**{field.name: username, **{key: make(name) for key, make in filled.items()}})
            if hasattr(user, "password"):
                user.password = make_password(None)
            users.append(user)
        with transaction.atomic(using=self.user_alias):
            if self.model._meta.parents:  # bulk_create() cannot fill several tables.
                for user in users:
                    user.save(using=self.user_alias, force_insert=True)
            else:
                self._users().bulk_create(users, ignore_conflicts=True)
        self.n_created_users += len(users)
        for name in ids - self.problems.keys() - self._by_username(ids).keys():
            self.problems[name] = "an account could not be created: another one has the same unique values"

    def _required_fields(self) -> dict[str, Any]:
        """Return {field: learner id → value} for what an account must have besides its name.

        Raises:
            CannotCreateAccounts: a field needs a value that nothing here can make up.
        """
        made: dict[str, Any] = {}
        impossible = []
        for field in self.model._meta.concrete_fields:
            if field.name in (self.model.USERNAME_FIELD, "password") or field.primary_key or field.has_default():
                continue
            unique = field.unique
            if field.null or (field.blank and not unique):
                continue
            if isinstance(field, EmailField):
                made[field.name] = lambda name: name if "@" in name else f"{name}@{INVALID_DOMAIN}"
            elif isinstance(field, CharField | TextField):
                made[field.name] = str if unique else lambda name: ""
            elif not getattr(field, "auto_now", False) and not getattr(field, "auto_now_add", False):
                impossible.append(field.name)
        if impossible:
            raise CannotCreateAccounts(
                f"Cannot create accounts of {self.model._meta.label}: {', '.join(impossible)} must be given, "
                "and an import does not know it. Create the accounts first, or use --visitors instead of "
                "--create-users."
            )
        return made

    def _profiles(self, field: str, owners: dict[str, Any]) -> dict[str, Learner]:
        """Return {learner id: learner} for owners by `field`, making the profiles that do not exist yet."""
        if not owners:
            return {}
        profiles = LearnerProfile.objects.using(self.alias)

        def stored() -> dict[Any, Learner]:
            rows = profiles.filter(tenant=self.tenant, **{f"{field}__in": list(owners.values())})
            return {
                owner: Learner(pk, personalise)
                for owner, pk, personalise in rows.values_list(field, "pk", "personalise")
            }

        found = stored()
        missing = {owner for owner in owners.values() if owner not in found}
        if missing:
            profiles.bulk_create(
                [LearnerProfile(tenant=self.tenant, **{field: owner}) for owner in sorted(missing, key=str)],
                ignore_conflicts=True,
            )
            found = stored()
        return {name: found[owner] for name, owner in owners.items()}
