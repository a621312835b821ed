"""Calls of torch's own forward from within the forward of a subclass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

from torch import nn

# Called as watcher(module, forward, arguments, keywords); it calls the forward and gives its result.
Watcher = Callable[[nn.Module, Callable[..., object], tuple[Any, ...], dict[str, Any]], object]

_lock = Lock()
_watchers: dict[type[nn.Module], list[Watcher]] = {}
_forwards: dict[type[nn.Module], Callable[..., Any]] = {}


@contextmanager
def watched(kind: type[nn.Module], watcher: Watcher) -> Iterator[None]:
    """Inside, every call of a kind's forward goes through a watcher, whoever calls it, on whatever object."""
    with _lock:
        watchers = _watchers.setdefault(kind, [])
        watchers.append(watcher)
        if len(watchers) == 1:
            _forwards[kind] = kind.forward
            kind.forward = _through(watchers, kind.forward)
    try:
        yield
    finally:
        with _lock:
            watchers.remove(watcher)
            if not watchers:
                kind.forward = _forwards.pop(kind)


def _through(watchers: list[Watcher], forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(module: nn.Module, *arguments: Any, **keywords: Any) -> Any:
        call = partial(forward, module)
        for watcher in list(watchers):
            call = partial(_call, watcher, module, call)
        return call(*arguments, **keywords)

    return run


def _call(
    watcher: Watcher, module: nn.Module, forward: Callable[..., object], /, *arguments: Any, **keywords: Any
) -> object:
    return watcher(module, forward, arguments, keywords)
