"""A small site: PostgreSQL and Django, and none of the packages that this app can do without."""

from tests.hosts.absent import uninstall

uninstall(
    "celery", "drf_spectacular", "import_export", "kombu", "onnx", "onnxruntime", "rest_framework", "safetensors",
    "sentence_transformers", "tokenizers", "torch", "tqdm", "transformers",
)  # fmt: skip

from tests.hosts.servers import database  # noqa: E402

SECRET_KEY = "tests only"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
DATABASES = {"default": database("plain")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
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
ROOT_URLCONF = "tests.hosts.plain_host.urls"
STATIC_URL = "/static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LLMREC = {"ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder"}}}
