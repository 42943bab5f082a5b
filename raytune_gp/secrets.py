"""Secrets that stand in URLs, found and hidden: they must not reach the journal, messages or reports."""

from __future__ import annotations

import re

from raytune_gp.errors import SpecError

__all__ = ["refuse_secrets", "without_secrets"]

_PASSWORD = re.compile(r"(://[^/\s@:]*):(?!\d+(?:/|\s|$))[^\s@]*@")
_PARAMETER = re.compile(
    r"([?&][\w.-]*(?:secret|token|passw|_key|sas|signature|credential)[\w.-]*=)[^&\s'\"]+", re.I
)
_HIDDEN = "***"


def without_secrets(text: str) -> str:
    """`text` with the passwords and keys hidden of the URLs in it."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(rf"\1{_HIDDEN}", _PASSWORD.sub(rf"\1:{_HIDDEN}@", text))


def refuse_secrets(uri: str) -> str:
    """`uri` if it has no secret in it. Raises SpecError, which does not say it."""
    shown = without_secrets(uri)
    if shown != uri:
        raise SpecError(
            f"storage_path is {shown!r}, with a secret in it, which the journal and reports would show: "
            f"leave it out, and give it to every node by the environment (AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS), a credentials file or a role"
        )
    return uri
