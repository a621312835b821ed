"""Networks of the dynamic sparse training literature as costs, and FLOPs as its tables count them."""

from sparsernn.measure.cost import Cost, Matrix

PTB_MINIBATCHES = 1328
PTB_TOKENS = 20 * 35


def stacked_lstm(units: int, layers: int, vocabulary: int) -> Cost:
    """An untied language model: embedding, LSTM layers of the embedding's width, decoder; vectors left out."""
    matrices = [Matrix("embedding.weight", vocabulary, units, executions=0)]
    for layer in range(layers):
        matrices += [Matrix(f"rnn.weight_{kind}_l{layer}", 4 * units, units, gates=4) for kind in ("ih", "hh")]
    return Cost((*matrices, Matrix("decoder.weight", vocabulary, units)))


def recurrent_highway(units: int, depth: int, vocabulary: int) -> Cost:
    """A recurrent highway language model whose embedding is its decoder; vectors left out."""
    names = ["rnn.weight_ih", *(f"rnn.weight_hh.{level}" for level in range(depth))]
    gated = [Matrix(name, 2 * units, units, gates=2) for name in names]
    return Cost((*gated, Matrix("decoder.weight", vocabulary, units)))


def text_classifier(
    vocabulary: int = 20_000, width: int = 256, units: int = 256, classes: int = 0, steps: int = 100
) -> Cost:
    """An embedding and an LSTM that reads `steps` tokens, then one output layer; vectors left out.

    Arguments:
        width: of the embedding.
        classes: 0 leaves the output layer out, as published counts of its weights do.
    """
    matrices = [Matrix("embedding.weight", vocabulary, width, executions=0)]
    matrices += [
        Matrix("cell.weight_ih_l0", 4 * units, width, gates=4),
        Matrix("cell.weight_hh_l0", 4 * units, units, gates=4),
    ]
    output = [Matrix("head.weight", classes, units, executions=1 / steps)] if classes else []
    return Cost((*matrices, *output))


def ptb_minibatch_flops(cost: Cost) -> float:
    """Forward FLOPs of one minibatch of 20 sequences of 35 tokens."""
    return cost.flops() * PTB_TOKENS


def ptb_training_flops(cost: Cost, epochs: int, embedding: bool = False) -> float:
    """Training FLOPs of `epochs` passes over Penn Treebank in 1328 minibatches of 700 tokens."""
    return cost.training_flops(embedding) * PTB_TOKENS * PTB_MINIBATCHES * epochs
