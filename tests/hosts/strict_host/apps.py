from django.apps import AppConfig


class StrictHostConfig(AppConfig):
    name = "tests.hosts.strict_host"
    label = "strict_host"
