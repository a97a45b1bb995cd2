"""Is this installation in order? Each examination says what it found and what to do about it."""

from llmrec_django.services.doctor.examine import examine
from llmrec_django.services.doctor.findings import Finding
from llmrec_django.services.doctor.repair import repair

__all__ = ["Finding", "examine", "repair"]
