"""How often somebody may ask: fixed windows counted in the host's cache."""

from __future__ import annotations

import hashlib
import time

from django.core.cache import cache

from llmrec_django.conf import LLMRecConfigurationError, conf
from llmrec_django.web.guard import log_failure

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def wait_for(scope: str, ident: str) -> float | None:
    """Count one request of `ident`; return None when it may pass, else the seconds until the window ends.

    Without a rate for `scope` in LLMREC["API_THROTTLES"] everything passes. So it does while the cache is down: a
    rate limit protects the site and must not be what takes it offline.
    """
    rate = conf.API_THROTTLES.get(scope)
    if not rate:
        return None
    limit, window_s = parse_rate(rate)
    now = time.time()
    started = int(now // window_s)
    # Hashed: cache servers limit the length and characters of a key, and need not know who asks.
    key = f"llmrec:rate:{scope}:{started}:{hashlib.sha256(ident.encode()).hexdigest()[:32]}"
    try:
        cache.add(key, 0, window_s + 1)
        count = cache.incr(key)
    except ValueError:  # The dummy cache counts nothing.
        return None
    except Exception as exc:  # noqa: BLE001 - caches fail in ways of their own
        log_failure("rate limit", exc)
        return None
    return None if count <= limit else (started + 1) * window_s - now


def parse_rate(rate: str) -> tuple[int, int]:
    """Return (requests, seconds) of a rate such as "120/min".

    Raises:
        LLMRecConfigurationError: the text is no rate.
    """
    number, _, period = rate.partition("/")
    if not number.strip().isdecimal() or period.strip()[:1].lower() not in _SECONDS:
        raise LLMRecConfigurationError(
            f"Cannot read the rate {rate!r} in LLMREC['API_THROTTLES']: expected a number, a slash and one of "
            "second, minute, hour, day. Write it as '120/min'."
        )
    return int(number), _SECONDS[period.strip()[0].lower()]
