"""A network of the runtime as a module of torch again."""

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.running.loop import Part, Stack, run_layers
from sparsernn.runtime.layers import checked_sizes
from sparsernn.runtime.network import NetworkSpec


class SpecModel(nn.Module):
    """Computes what `runtime.network.Network` does, with weights that need no gradient.

    Arguments:
        spec: its parts; formats of layers do not matter.
    Raises: UserError for a network with random kernels.
    """

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        if spec.kernels is not None:
            raise UserError("this network has random kernels", "recurrent layers alone", "export its run folder")
        self.spec = spec
        self.layers = nn.ModuleList()
        for layer in spec.layers:
            weights = nn.Module()
            for local, array in layer.weights.items():
                weights.register_buffer(local, torch.tensor(array))
            self.layers.append(weights)
        self.embedding, self.rows, self.head, self.bias, self.skip = (
            None if array is None else nn.Buffer(torch.tensor(array))
            for array in (spec.embedding, spec.rows, spec.head, spec.bias, spec.skip)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `Network.run`. Shapes: x [batch time input] or [batch time], lengths [batch]."""
        last = x[:, -1:]
        x = x if self.skip is None else x - last
        vectors = self._vectors(x)
        parts = [
            Part(
                one.cell,
                dict(weights.named_buffers()),
                checked_sizes(one.cell, one.weights),
                dict.fromkeys(one.weights, ""),
            )
            for one, weights in zip(self.spec.layers, self.layers, strict=True)
        ]
        output, _ = run_layers(Stack(self, parts, self.spec.directions, batch_first=True), vectors, None, lengths)
        if self.spec.kind not in ("classification", "forecasting"):
            outputs = self._head(output)
            return outputs if self.spec.at_once == 1 else outputs.unflatten(-1, (self.spec.at_once, -1))
        ends = torch.full((x.shape[0],), x.shape[1]) if lengths is None else lengths
        result = self._head(torch.cat([self._pooled(output, ends, how) for how in self.spec.pool.split("_")], -1))
        if self.spec.residual is None:
            return result
        columns = slice(self.spec.residual, self.spec.residual + self.spec.several)
        if self.skip is not None:
            skips = self.skip.reshape(self.spec.several, -1, x.shape[1])
            result = result + torch.einsum("bts,sht->bsh", x[:, :, columns], skips).flatten(1)
        else:
            last = x.gather(1, (ends - 1).reshape(-1, 1, 1).expand(-1, 1, x.shape[2]))
        return result + last[:, 0, columns].repeat_interleave(result.shape[1] // self.spec.several, 1)

    def _vectors(self, x: Tensor) -> Tensor:
        if self.embedding is None:
            return x
        places = x if self.rows is None else self.rows[x]
        return self.embedding[places.clamp(min=0)].masked_fill((places < 0).unsqueeze(-1), 0.0)

    def _pooled(self, output: Tensor, ends: Tensor, how: str) -> Tensor:
        """One vector a sequence. [batch unit]"""
        inside = (torch.arange(output.shape[1]) < ends.unsqueeze(1)).unsqueeze(-1)
        if how == "mean":
            return (output * inside).sum(1) / ends.unsqueeze(1)
        if how == "max":
            return output.masked_fill(~inside, -torch.inf).amax(1)
        place = (ends - 1).reshape(-1, 1, 1).expand(-1, 1, output.shape[2])
        last = output.gather(1, place)[:, 0]
        if self.spec.directions == 1:
            return last
        half = output.shape[2] // 2
        return torch.cat([last[:, :half], output[:, 0, half:]], -1)

    def _head(self, vectors: Tensor) -> Tensor:
        if self.head is None:
            return vectors
        result = vectors @ self.head.t()
        return result if self.bias is None else result + self.bias
