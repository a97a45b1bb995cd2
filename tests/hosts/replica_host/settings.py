"""A site that writes to one server and reads from its replica, on which every write is refused."""

from tests.hosts.servers import database

SECRET_KEY = "tests only"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
DATABASES = {
    "default": database("replica"),
    # The same database, so that there is no delay, over connections that only read.
    "replica": database("replica", OPTIONS={"options": "-c default_transaction_read_only=on"}),
}
DATABASE_ROUTERS = ["tests.hosts.replica_host.router.ReadFromReplica"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "llmrec_django",
    "tests.hosts.school",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
ROOT_URLCONF = "tests.hosts.replica_host.urls"
STATIC_URL = "/static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LLMREC = {"CELERY": False, "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder"}}}
