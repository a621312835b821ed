"""Torch's own recurrent layers and their single-step forms."""

from torch import nn

from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.structure.description import Description, describe_layers
from sparsernn.structure.layer import parameter_names
from sparsernn.structure.neighbour import Neighbour

STACKS = (nn.LSTM, nn.GRU, nn.RNN)
STEPS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)


def cell_of(module: nn.Module) -> Cell:
    """What a step of one of torch's recurrent modules computes."""
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return LSTM(projected=bool(getattr(module, "proj_size", 0)))
    if isinstance(module, nn.GRU | nn.GRUCell):
        return GRU()
    return RNN(nonlinearity=str(module.nonlinearity))


def sizes_of(module: nn.RNNBase | nn.RNNCellBase) -> list[dict[str, int]]:
    """Units along each axis of every layer and direction."""
    cell, hidden = cell_of(module), module.hidden_size
    if isinstance(module, nn.RNNCellBase):
        return [cell.sizes(module.input_size, hidden)]
    directions, width = 1 + module.bidirectional, module.proj_size or hidden
    inputs = [module.input_size] * directions + [width * directions] * (module.num_layers - 1) * directions
    return [cell.sizes(below, hidden) | {"projection": module.proj_size} for below in inputs]


def names_of(module: nn.RNNBase | nn.RNNCellBase) -> list[dict[str, str]]:
    """For every layer and direction, local weight name -> parameter name."""
    cell = cell_of(module)
    if isinstance(module, nn.RNNCellBase):
        return [{local: local for local in cell.axes if module.bias or "bias" not in local}]
    directions = 1 + module.bidirectional
    return parameter_names([cell] * (module.num_layers * directions), directions, bool(module.bias))


def _describe(module: nn.RNNBase | nn.RNNCellBase) -> Description:
    names = names_of(module)
    directions = 1 + int(getattr(module, "bidirectional", False))
    return describe_layers([cell_of(module)] * len(names), sizes_of(module), directions, names)


def _resize(module: nn.RNNBase | nn.RNNCellBase) -> None:
    if isinstance(module, nn.RNNCellBase):
        module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
        return
    first = names_of(module)[0]
    weight = module.get_parameter(first["weight_ih"])
    module.input_size, module.hidden_size = weight.shape[1], weight.shape[0] // len(cell_of(module).gates)
    if "weight_hr" in first:
        module.proj_size = module.get_parameter(first["weight_hr"]).shape[0]
    module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
    module.flatten_parameters()


neighbour = Neighbour((*STACKS, *STEPS), _describe, _resize, wrapped=True)
