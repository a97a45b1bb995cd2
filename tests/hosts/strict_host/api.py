"""What this site sets as defaults of its REST framework; none of it suits anybody else."""

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from tests.hosts.strict_host.models import Reader


class HeaderAuthentication(BaseAuthentication):
    """The gateway in front names the reader."""

    def authenticate(self, request):
        mail = request.headers.get("X-Reader")
        if not mail:
            return None
        reader = Reader.objects.filter(mail=mail).first()
        if reader is None:
            raise AuthenticationFailed("Nobody has this address.")
        return reader, None

    def authenticate_header(self, request):
        return "Gateway"


class ShoutingRenderer(BaseRenderer):
    media_type = "text/plain"
    format = "shout"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return repr(data).upper().encode()


class NobodyPasses(BaseThrottle):
    def allow_request(self, request, view):
        return False


def apologise(exc, context):
    return Response({"sorry": True}, status=200)
