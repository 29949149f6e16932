"""Reads settings; no other module reads YAML or environment variables.

``FLEETALIGN_PARAMS`` names the YAML file that overrides defaults, ``FLEETALIGN_STORE`` the store if there is no
``--store``, ``FLEETALIGN_PROMETHEUS_URL`` a Prometheus server with its credentials. The settings themselves are in
``fleetalign.config.run``.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fleetalign.config.build import check
from fleetalign.config.moved import renamed
from fleetalign.config.run import Config, SourceConfig, StorageConfig
from fleetalign.errors import ConfigError

logger = logging.getLogger(__name__)
PARAMS_VARIABLE = "FLEETALIGN_PARAMS"
STORE_VARIABLE = "FLEETALIGN_STORE"
PROMETHEUS_VARIABLE = "FLEETALIGN_PROMETHEUS_URL"


def load(path: str | os.PathLike[str] | None = None) -> Config:
    """Read settings from the YAML file ``path`` or ``$FLEETALIGN_PARAMS``, else the defaults.

    Raises:
        ConfigError: The file cannot be read, or a setting in it is unknown or wrong.
    """
    chosen = str(path) if path else os.environ.get(PARAMS_VARIABLE, "")
    if not chosen:
        return Config()
    return from_mapping(read_yaml(chosen) or {}, chosen)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Read the YAML document in ``path``.

    Raises:
        ConfigError: The file cannot be read or is not YAML.
    """
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
    """Make the settings from a document that overrides defaults; ``where`` names it in errors.

    A name that has moved is read, and logged with its new one.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    document, moved = renamed(document, where)
    for line in moved:
        logger.warning(line)
    config: Config = from_plain(Config, document, where)
    return config


def from_build_settings(settings: Mapping[str, Any]) -> Config:
    """Make the settings from the build sections of a plan, with defaults for all others."""
    config: Config = from_plain(Config, dict(settings), "plan.config")
    return config


def store_uri(uri: str | None = None) -> str:
    """Return ``uri`` or ``$FLEETALIGN_STORE``.

    Raises:
        ConfigError: Neither is set.
    """
    uri = uri or os.environ.get(STORE_VARIABLE, "")
    check(bool(uri), f"no store: give --store URI or set {STORE_VARIABLE} (file:///path or s3://bucket/prefix)")
    return uri


def prometheus_url(source: SourceConfig) -> str:
    """Return the Prometheus server from the setting or ``$FLEETALIGN_PROMETHEUS_URL``.

    Raises:
        ConfigError: Neither is set.
    """
    url = source.prometheus_url or os.environ.get(PROMETHEUS_VARIABLE, "")
    check(
        bool(url),
        f"source.type is prometheus but there is no server; set source.prometheus_url or {PROMETHEUS_VARIABLE}",
    )
    return url


def storage_settings() -> StorageConfig:
    """Read the ``storage`` section when a store is opened.

    A scorer has no params.yaml, only the environment.
    """
    settings = load().storage
    match os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "").lower():
        case "when_supported":
            return dataclasses.replace(settings, checksums="when_supported")
        case "when_required":
            return dataclasses.replace(settings, checksums="when_required")
        case _:
            return settings


def aws_endpoint() -> str | None:
    """Return the S3 endpoint if it is not AWS's own.

    It is for tools that do not read boto3's variables themselves.
    """
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def from_plain(cls: Any, document: Any, where: str) -> Any:
    """Make the dataclass ``cls`` from plain values, as YAML gives them.

    ``where`` names them in errors.

    Raises:
        ConfigError: A field is unknown or has a wrong value.
    """
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
        return from_plain(hint, value, where)
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
