"""An account with a mail address, a property where a method is expected, and little else."""

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class Reader(AbstractBaseUser):
    mail = models.EmailField(unique=True)

    objects = BaseUserManager()
    USERNAME_FIELD = "mail"

    @property
    def get_full_name(self):
        return "a name"
