"""Settings and optimizers: wrong values get one clear error where they enter."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

from sparsernn.errors import UserError
from sparsernn.training.optimizers import build_optimizer, find_optimizer, optimizer_names
from sparsernn.training.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", -1),
        ("learning_rate", -0.1),
        ("learning_rate", "1"),
        ("learning_rate", float("nan")),
        ("momentum", 1.5),
        ("clip", -1.0),
        ("schedule", "linear"),
        ("keep", "first"),
        ("patience", 0),
        ("precision", "float8"),
        ("device", "tpu"),
        ("decay", 2.0),
        ("seed", -1),
        ("checkpoint_seconds", -1.0),
        ("flush_denormal", "yes"),
        ("optimizer", 3),
        ("optimizer_options", None),
        ("loggers", 5),
        ("where", [1]),
    ],
)
def test_a_value_outside_its_range_is_named(name, value):
    with pytest.raises(UserError, match=f"^{name} is "):
        Settings(**{name: value})


def test_settings_are_json():
    settings = Settings(optimizer=torch.optim.SGD, where=("recurrent.*",), optimizer_options={"nesterov": True})
    assert json.loads(json.dumps(settings.to_json())) == settings.to_json()
    assert settings.to_json()["optimizer"] == "SGD"
    assert set(settings.to_json()) == {field.name for field in dataclasses.fields(Settings)}


def test_one_name_serves_as_a_list_of_one():
    assert Settings(loggers="csv", where="head.*") == Settings(loggers=("csv",), where=("head.*",))


@pytest.mark.parametrize(
    ("name", "advice"), [("adamm", "Write 'adam'"), ("sdg", "Write 'sgd'"), ("lbfgs", "Choose one of these")]
)
def test_an_unknown_optimizer_is_answered_with_the_nearest(name, advice):
    with pytest.raises(UserError, match=advice):
        find_optimizer(name)


def test_names_in_any_spelling():
    assert find_optimizer("AdamW") is find_optimizer("adam_w") is torch.optim.AdamW
    assert {"sgd", "adam", "adamw", "rmsprop"} <= set(optimizer_names())


def test_settings_reach_the_optimizer():
    parameters = list(nn.Linear(2, 2).parameters())
    settings = Settings(
        optimizer="sgd", learning_rate=0.5, momentum=0.9, weight_decay=0.01, optimizer_options={"nesterov": True}
    )
    group = build_optimizer(settings, parameters).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.5, 0.9, 0.01, True)
    group = build_optimizer(
        Settings(optimizer="adamw", optimizer_options={"betas": [0.8, 0.9]}), parameters
    ).param_groups[0]
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.9), 0)


def test_any_callable_is_an_optimizer(classification):
    def slow(parameters, lr):
        return torch.optim.SGD(parameters, lr=lr / 2)

    _, fitted = classification.fit(optimizer=slow, learning_rate=0.1)
    assert fitted.history[0]["learning_rate"] == 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "Adam has no momentum"),
        ({"optimizer": "rprop", "weight_decay": 0.1}, "Rprop has no weight_decay"),
        ({"optimizer_options": {"beta": [0.9, 0.99]}}, "no option 'beta'.*Write 'betas', the nearest"),
        ({"optimizer": "sgd", "optimizer_options": {"nesterov": True}}, "SGD refuses its arguments"),
        ({"optimizer": "muon"}, "Muon refuses its arguments"),
    ],
)
def test_arguments_that_an_optimizer_does_not_take_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        build_optimizer(Settings(**settings), nn.Linear(2, 2).parameters())


def test_a_frozen_model_is_refused():
    with pytest.raises(UserError, match="No parameter of the model is trained"):
        build_optimizer(Settings(), nn.Linear(2, 2).requires_grad_(False).parameters())


def test_adam_takes_one_pass_unless_told_otherwise_and_steps_alike():
    def trained(**options):
        torch.manual_seed(0)
        layer = nn.Linear(5, 4)
        layer.weight.data[:2] = 0
        settings = Settings(optimizer="adam", weight_decay=0.1, optimizer_options=options)
        optimizer = build_optimizer(settings, layer.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            layer(torch.randn(3, 5)).square().sum().backward()
            optimizer.step()
        return layer.weight.detach(), optimizer.param_groups[0]["fused"]

    (fused, was_fused), (single, was_single) = trained(), trained(foreach=False)
    assert was_fused and not was_single
    assert torch.allclose(fused, single, rtol=1e-5, atol=1e-7)
