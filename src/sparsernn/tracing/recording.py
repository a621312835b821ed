"""Who reads what in a user's model: real forwards, followed tensor by tensor (see `recorder`)."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsernn.errors import UserError
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.copying import copy_of
from sparsernn.tracing.examples import Example, does_not_run, examples_of
from sparsernn.tracing.recorder import Recorder
from sparsernn.tracing.surroundings import undisturbed

CALLS = 2


def trace(model: nn.Module, example: object = None) -> Wiring:
    """The wiring of a model: every known module, and who reads whose units.

    Arguments:
        example: what the model is called with, in one of the forms of `Example.of`, or a list of them; its forward is
            followed. Without it only what a module holds within itself and a plain `nn.Sequential` is joined, and
            something unknown counts as reader of all the rest.
    Raises: UserError for an example of a model without values.
    """
    inner, wiring = unwrap(model), Wiring.local(model)
    if example is not None and any(parameter.is_meta for parameter in inner.parameters()):
        raise UserError(
            "the model has weights on the device meta, which hold no values",
            "a model whose weights are loaded",
            "load them first, by load_state_dict(..., assign=True) or load_compact",
        )
    if example is not None:
        record(inner, wiring, examples_of(example))
    else:
        wiring.follow_containers(inner)
        wiring.resolve()
    return wiring


def record(
    model: nn.Module, wiring: Wiring, examples: Sequence[Example], original: nn.Module | None = None
) -> Recorder:
    """Follow the forward of a model with each example, and complete the wiring.

    A model that keeps something for its next call is called twice, so that it is seen what comes of it.

    Arguments:
        original: the model that `model` is a copy of, of which its forward must not use anything.
    Raises: UserError if the model does not run on an example.
    """
    recorder = Recorder(model, wiring, original)
    for example in examples:
        with undisturbed(model) as surroundings:
            for _ in range(CALLS):
                try:
                    with recorder, UnseenOperations(recorder):
                        result = example.call(model)
                except UserError:
                    raise
                except Exception as error:
                    raise does_not_run(error) from error
                recorder.returns(result)
                if not surroundings.changed():
                    break
    recorder.complete()
    return recorder


def run_quietly(model: nn.Module, example: Example) -> object:
    """What a model returns for an example, without gradients; model and generators are as before afterwards."""
    with undisturbed(model):
        return copy_of(example.call(model))


class UnseenOperations(TorchDispatchMode):
    """Tells a recorder of operations that no torch function asked for."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: Sequence[type],
        arguments: Sequence[object] = (),
        keywords: Mapping[str, object] | None = None,
    ) -> object:
        self.recorder.reads_unseen((arguments, keywords))
        return operation(*arguments, **(keywords or {}))
