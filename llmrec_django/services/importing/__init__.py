"""Importing files: catalogues, activity, competencies and prerequisites.

Files are CSV or JSON lines, plain or gzipped, in UTF-8. Rows are read one after the other, checked one by one
and written in batches, so that memory does not grow with the file. A row is taken whole or not at all, and every
row that is not taken is reported with its line, its field and the reason.
"""

from llmrec_django.services.importing.competencies import import_competencies, import_prerequisites
from llmrec_django.services.importing.files import ImportFileError, open_rows
from llmrec_django.services.importing.interactions import import_interactions
from llmrec_django.services.importing.report import ImportReport, RowError
from llmrec_django.services.importing.resources import import_resources

__all__ = [
    "ImportFileError",
    "ImportReport",
    "RowError",
    "import_competencies",
    "import_interactions",
    "import_prerequisites",
    "import_resources",
    "open_rows",
]
