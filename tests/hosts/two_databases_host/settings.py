"""A site whose accounts and courses are in one PostgreSQL database and this app's tables in another."""

from tests.hosts.servers import database

SECRET_KEY = "tests only"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
DATABASES = {"default": database("site"), "llmrec": database("recommendations")}
DATABASE_ROUTERS = ["llmrec_django.routers.LLMRecRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "llmrec_django",
    "tests.hosts.school",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.hosts.sqlite_host.urls"
STATIC_URL = "/static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LLMREC = {
    "DATABASE": "llmrec",
    "CELERY": False,
    "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder"}},
}
