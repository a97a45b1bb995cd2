"""A site that has everything its own way: no sessions, no admin, an account without a username, odd API defaults."""

from tests.hosts.servers import database

SECRET_KEY = "tests only"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = False
TIME_ZONE = "Asia/Shanghai"
LANGUAGE_CODE = "zh-hans"
DATABASES = {"default": database("strict", ATOMIC_REQUESTS=True)}
DEFAULT_AUTO_FIELD = "django.db.models.SmallAutoField"
AUTH_USER_MODEL = "strict_host.Reader"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    "rest_framework",
    "tests.hosts.strict_host",
    "tests.hosts.school",
    "llmrec_django",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
# No context processors: templates see neither request nor user.
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "tests.hosts.strict_host.urls"
STATIC_URL = "/static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tests.hosts.strict_host.api.HeaderAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": ["tests.hosts.strict_host.api.ShoutingRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "DEFAULT_FILTER_BACKENDS": ["rest_framework.filters.SearchFilter"],
    "DEFAULT_THROTTLE_CLASSES": ["tests.hosts.strict_host.api.NobodyPasses"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "ALLOWED_VERSIONS": ["7"],
    "PAGE_SIZE": 1,
    "EXCEPTION_HANDLER": "tests.hosts.strict_host.api.apologise",
    "NON_FIELD_ERRORS_KEY": "__all__",
    "COERCE_DECIMAL_TO_STRING": False,
    "UNICODE_JSON": False,
    "DATETIME_FORMAT": "%d.%m.%Y",
}
LLMREC = {"ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder"}}}
