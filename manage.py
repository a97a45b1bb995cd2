#!/usr/bin/env python
"""Django's command line for the example campus; starts its embedded PostgreSQL where a command needs one."""

import os
import sys

# Commands that read no database.
OFFLINE = {"check", "compilemessages", "diffsettings", "help", "makemessages", "startapp", "startproject", "version"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from django.core.management import execute_from_command_line

    if needs_database(sys.argv[1:]) and os.environ["DJANGO_SETTINGS_MODULE"] == "example_project.settings":
        import atexit

        from example_project.embedded import EmbeddedServerError
        from example_project.settings import start_database

        try:
            # The last process to end stops the server.
            atexit.register(start_database())
        except EmbeddedServerError as error:
            sys.exit(str(error))
    execute_from_command_line(sys.argv)


def needs_database(arguments: list[str]) -> bool:
    if not arguments or arguments[0].startswith("-") or "--help" in arguments or "-h" in arguments:
        return False
    return arguments[0] not in OFFLINE or "--database" in arguments


if __name__ == "__main__":
    main()
