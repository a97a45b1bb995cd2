"""Form fields for lists of words and addresses."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import lazy
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from llmrec_django.conf import conf
from llmrec_django.models import EditorialRule, LearnerProfile, Placement, Resource
from llmrec_django.services.importing import values
from llmrec_django.services.importing.report import RowProblem

# A model's own fields are labelled so by Django; ours share their words.
_label = lazy(capfirst, str)

LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


class WordListField(forms.CharField):
    """A JSON list of strings, edited as "one, two"; an entry with a comma in it makes it "Doe, Jane; Roe, Max"."""

    default_error_messages = {"invalid": _("At most 200 entries of 255 characters fit.")}

    def __init__(self, **options: Any) -> None:
        options.setdefault("required", False)
        options.setdefault("help_text", _("Separated by commas, or by semicolons if an entry holds a comma."))
        options.setdefault("widget", forms.TextInput(attrs={"class": "vTextField"}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        entries = [str(entry) for entry in value]
        if not any("," in entry for entry in entries):
            return ", ".join(entries)
        return "; ".join(entries) + (";" if len(entries) == 1 else "")

    def to_python(self, value: Any) -> Any:
        try:
            return values.words({"list": value}, "list", commas=True)
        except RowProblem as problem:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from problem

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class AddressField(forms.CharField):
    """An http(s) address or a path on this site. Anything else (javascript:) would run when a learner clicks."""

    default_error_messages = {
        "invalid": _("An address must begin with http://, https:// or / and have at most 2000 characters.")
    }

    def __init__(self, **options: Any) -> None:
        options.setdefault("required", False)
        options.setdefault("widget", forms.TextInput(attrs={"class": "vTextField"}))
        super().__init__(max_length=2000, **options)

    def to_python(self, value: Any) -> str:
        try:
            return values.address({"address": value}, "address")
        except RowProblem as problem:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from problem


class ResourceForm(forms.ModelForm):
    authors = WordListField(label=_label(_("authors")))
    keywords = WordListField(label=_label(_("keywords")))
    url = AddressField(label=_label(_("web address")))
    image = AddressField(label=_label(_("image address")))

    class Meta:
        model = Resource
        fields = "__all__"  # noqa: DJ007 - the admin class names them
        widgets = {"title": forms.TextInput(attrs={"class": "vTextField"})}

    def clean_translations(self) -> Any:
        try:
            return values.translations(self.cleaned_data, "translations")
        except RowProblem as problem:
            raise ValidationError(
                _('Each entry must look like {"zh-hans": {"title": "…", "description": "…"}}.'), code="invalid"
            ) from problem


class LearnerProfileForm(forms.ModelForm):
    interests = WordListField(label=_label(_("interests")))
    languages = WordListField(label=_label(_("languages")))

    class Meta:
        model = LearnerProfile
        fields = "__all__"  # noqa: DJ007

    def clean_visitor_key(self) -> str | None:
        # The column is unique where it is not null: two accounts must not share an empty key.
        return self.cleaned_data["visitor_key"] or None


class LocalTextsField(forms.CharField):
    """A JSON object of texts by language tag, edited as one "zh-hans: text" a line."""

    default_error_messages = {
        "line": _("This line is not a language tag, a colon and a text: %(line)s"),
        "twice": _("There are two lines for %(tag)s."),
        "long": _("At most %(n)d characters fit: %(tag)s."),
    }

    def __init__(self, *, longest: int, **options: Any) -> None:
        self.longest = longest
        options.setdefault("required", False)
        options.setdefault("help_text", _("One language a line, as in: zh-hans: …"))
        options.setdefault("widget", forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{tag}: {text}" for tag, text in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        texts: dict[str, str] = {}
        for line in str(value or "").splitlines():
            if not line.strip():
                continue
            # Whoever writes Chinese may well type the wide colon.
            tag, colon, text = line.replace("：", ":", 1).partition(":")
            tag, text = tag.strip().lower(), text.strip()
            if not colon or not text or not LANGUAGE_TAG.fullmatch(tag):
                raise ValidationError(self.error_messages["line"], code="line", params={"line": line.strip()})
            if tag in texts:
                raise ValidationError(self.error_messages["twice"], code="twice", params={"tag": tag})
            if len(text) > self.longest:
                raise ValidationError(self.error_messages["long"], code="long", params={"n": self.longest, "tag": tag})
            texts[tag] = text
        return texts

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or {}) != self.to_python(data))
        except ValidationError:
            return True


class EditorialRuleForm(forms.ModelForm):
    reason_translations = LocalTextsField(label=_label(_("reason in other languages")), longest=200)

    class Meta:
        model = EditorialRule
        fields = "__all__"  # noqa: DJ007
        help_texts = {
            "kind": _("course, lesson, video, article, book, paper …"),
            "language": _("Language tag such as en or zh-hans."),
            "ends_at": _("Empty: it does not end."),
        }
        widgets = {"reason": forms.TextInput(attrs={"class": "vLargeTextField"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "effect" in self.fields:  # not where it may only be looked at
            most = int(conf.MOST_PINNED)
            self.fields["effect"].help_text = ngettext(
                "%(n)d place of a list at most goes to what is shown first.",
                "%(n)d places of a list at most go to what is shown first.",
                most,
            ) % {"n": most}


class PlacementForm(forms.ModelForm):
    kinds = WordListField(label=_label(_("kinds")), help_text=_("Separated by commas. Empty: all kinds."))
    languages = WordListField(label=_label(_("languages")), help_text=_("Separated by commas. Empty: the learner's."))

    class Meta:
        model = Placement
        fields = "__all__"  # noqa: DJ007

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if (values.get("explore_places") or 0) > (values.get("size") or 0):
            self.add_error("explore_places", _("A list has no more places than its size."))
        experiment = values.get("experiment")
        if experiment is not None and experiment.tenant != values.get("tenant"):
            self.add_error("experiment", _("The experiment is of another tenant."))
        return values
