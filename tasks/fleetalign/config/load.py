"""Reads settings: the only reader of YAML and of environment variables.

``FLEETALIGN_PARAMS`` names the YAML file that overrides defaults (none: all defaults), ``FLEETALIGN_STORE`` the store when
no ``--store`` is given, ``FLEETALIGN_PROMETHEUS_URL`` a Prometheus server with its credentials. The settings themselves are in ``fleetalign.config.run``.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from pathlib import Path
from typing import Any, Literal

from fleetalign.config.build import check
from fleetalign.config.run import Config, SourceConfig, StorageConfig
from fleetalign.errors import ConfigError

PARAMS_VARIABLE = "FLEETALIGN_PARAMS"
STORE_VARIABLE = "FLEETALIGN_STORE"
PROMETHEUS_VARIABLE = "FLEETALIGN_PROMETHEUS_URL"


def load(path: str | os.PathLike[str] | None = None) -> Config:
    """Defaults overridden by the YAML file ``path`` or ``$FLEETALIGN_PARAMS``. Raises ConfigError naming the setting."""
    chosen = str(path) if path else os.environ.get(PARAMS_VARIABLE, "")
    if not chosen:
        return Config()
    return from_mapping(read_yaml(chosen) or {}, chosen)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The YAML document in ``path``. Raises ConfigError naming the file."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise ConfigError(f"{path}: reading YAML needs PyYAML; pip install 'fleetalign[build]'") from None
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a readable file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def from_mapping(document: Any, where: str) -> Config:
    """Defaults overridden by ``document``. Raises ConfigError naming ``where`` and the setting."""
    return build(Config, document, where)


def from_build_settings(settings: dict[str, Any]) -> Config:
    """A configuration with the build sections of a plan, everything else at its default."""
    return from_mapping(settings, "plan.config")


def store_uri(given: str | None = None) -> str:
    """``given`` or ``$FLEETALIGN_STORE``. Raises ConfigError when neither is set."""
    uri = given or os.environ.get(STORE_VARIABLE, "")
    check(bool(uri), f"no store: give --store URI or set {STORE_VARIABLE} (file:///path or s3://bucket/prefix)")
    return uri


def prometheus_url(source: SourceConfig) -> str:
    """The setting, else ``$FLEETALIGN_PROMETHEUS_URL``, where a password is better kept. Raises ConfigError without both."""
    url = source.prometheus_url or os.environ.get(PROMETHEUS_VARIABLE, "")
    check(
        bool(url),
        f"source.type is prometheus but no server is named; set source.prometheus_url or {PROMETHEUS_VARIABLE}",
    )
    return url


def storage_settings() -> StorageConfig:
    """The ``storage`` section, read where a store is opened: a scorer has no params.yaml, only the environment."""
    settings = load().storage
    mode = os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "").lower()
    return dataclasses.replace(settings, checksums=mode) if mode in ("when_supported", "when_required") else settings


def aws_endpoint() -> str | None:
    """The S3 endpoint other than AWS's own, for tools that do not read boto3's variables themselves."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def build(cls: type, document: Any, where: str) -> Any:
    """The dataclass ``cls`` from plain values, as YAML gives them. Raises ConfigError naming ``where`` and the field."""
    check(isinstance(document, dict), f"{where}: expected a mapping, found {type(document).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(document) - set(hints))
    check(not unknown, f"{where}: unknown setting {', '.join(map(repr, unknown))}; known: {', '.join(sorted(hints))}")
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    # Where the default is None, an empty value leaves the setting open.
    given = {name: value for name, value in document.items() if value is not None or defaults[name] is not None}
    return cls(**{name: _convert(hints[name], value, f"{where}: {name}") for name, value in given.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if origin is Literal:
        check(value in arguments, f"{where} is {value!r}; must be one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        check(isinstance(value, list | tuple), f"{where} is {value!r}; must be a list")
        if Ellipsis not in arguments:
            check(len(value) == len(arguments), f"{where} has {len(value)} values; must have {len(arguments)}")
            return tuple(_convert(a, v, where) for a, v in zip(arguments, value, strict=True))
        return tuple(_convert(arguments[0], v, where) for v in value)
    if origin is dict:
        check(isinstance(value, dict), f"{where} is {value!r}; must be a mapping")
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is str and not isinstance(value, str | dict | list):
        return str(value)  # YAML reads an unquoted 2026-03-02 as a date
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            pass
    check(type(value) is hint, f"{where} is {value!r}; must be {getattr(hint, '__name__', hint)}")
    return value
