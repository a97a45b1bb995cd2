"""Import and export buttons in the admin, with django-import-export.

Used when "import_export" is in INSTALLED_APPS. The columns are those of `llmrec_import resources`, so that a file
exported here can be imported there and the other way round.
"""
