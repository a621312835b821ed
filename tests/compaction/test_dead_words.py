"""Dead words: their rows go, the same ids come in, and nothing that is computed changes."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import load_compact, save_compact
from sparsernn.models.classifier import Classifier
from sparsernn.models.language_model import LanguageModel
from sparsernn.models.layers import WordEmbedding
from sparsernn.structure.masks import Masks
from tests.structure.networks import Reading, check_exact, difference, masked, random_masks, size_of

WORDS = 50
IDS = torch.randint(WORDS, (5, 3), generator=torch.Generator().manual_seed(0))


def living(model: nn.Module, words: list[int], name: str = "embedding.weight") -> Masks:
    """Masks under which only these words have a vector."""
    kept = torch.zeros_like(model.get_parameter(name), dtype=torch.bool)
    kept[words] = True
    return Masks({name: kept})


class Texts(nn.Module):
    """A classifier as users write it, with a choice of embedding."""

    def __init__(self, embedding: nn.Embedding):
        super().__init__()
        self.embedding = embedding
        self.rnn, self.head = nn.LSTM(embedding.embedding_dim, 6), nn.Linear(6, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(ids))[0].mean(0))


class Padded(Texts):
    """Reads the padding's id off its embedding."""

    def forward(self, ids: Tensor) -> Tensor:
        inside = (ids != self.embedding.padding_idx).unsqueeze(-1)
        return self.head((self.rnn(self.embedding(ids))[0] * inside).sum(0))


class Scaled(nn.Embedding):
    """Embedding with a forward of its own, which reads its size and its padding."""

    behaves_as = nn.Embedding

    def forward(self, ids: Tensor, scale: float = 2.0) -> Tensor:
        assert len(self.weight) == self.num_embeddings
        weight = self.weight * self.weight.new_ones(self.num_embeddings, 1)
        return scale * nn.functional.embedding(ids, weight, self.padding_idx)


MAKERS = {
    "plain": lambda: nn.Embedding(WORDS, 4),
    "padding": lambda: nn.Embedding(WORDS, 4, padding_idx=0),
    "padding alive": lambda: nn.Embedding(WORDS, 4, padding_idx=7),
    "sparse gradients": lambda: nn.Embedding(WORDS, 4, sparse=True),
    "ours": lambda: WordEmbedding(WORDS, 4, 0.3, padding_idx=0),
    "a forward of its own": lambda: Scaled(WORDS, 4, padding_idx=7),
}
KEPT = [3, 7, 8, 20, 49]


@pytest.fixture(params=MAKERS)
def texts(request) -> Texts:
    torch.manual_seed(0)
    model = Texts(MAKERS[request.param]())
    nn.init.normal_(model.embedding.weight)  # the padding too, as in a table that was trained elsewhere
    return model


def test_rows_of_dead_words_go_and_ids_stay(texts):
    small, masks = check_exact(texts, living(texts, KEPT), IDS)
    assert tuple(small.embedding.weight.shape) == (5, 4)
    assert isinstance(small.embedding, type(texts.embedding)) and small.embedding.num_embeddings == WORDS
    assert small.embedding.padding_idx == texts.embedding.padding_idx
    every = torch.arange(WORDS)
    vectors = small.eval().embedding(every)
    assert torch.equal(vectors, masked(texts, living(texts, KEPT)).eval().embedding(every))
    dead = [word for word in range(WORDS) if word not in KEPT]
    assert not vectors[dead].any()
    assert masks.kept["embedding.weight"].all()


def test_columns_that_nobody_reads_go_with_the_rows(texts):
    masks = living(texts, KEPT)
    masks.kept["rnn.weight_ih_l0"] = torch.ones(24, 4, dtype=torch.bool)
    masks.kept["rnn.weight_ih_l0"][:, 1] = False
    masks.kept["embedding.weight"][:, 2] = False
    masks.kept["embedding.weight"][20, [0, 3]] = False  # what is left of this word, nobody reads
    small, left = check_exact(texts, masks, IDS)
    assert tuple(small.embedding.weight.shape) == (4, 2) and small.embedding.embedding_dim == 2
    assert small.rnn.input_size == 2 and left.kept["embedding.weight"].shape == (4, 2)


def test_one_row_stays_of_an_embedding_without_a_word(texts):
    small, _ = check_exact(texts, living(texts, []), IDS)
    assert len(small.embedding.weight) == 1 and not small.eval().embedding(torch.arange(WORDS)).any()


def test_gradients_and_a_step_are_those_of_the_masked_model(texts):
    masks = living(texts, KEPT)
    small, whole = compact(texts.eval(), masks, (IDS,))[0], masked(texts, masks).eval()
    every = torch.arange(WORDS).view(10, 5)
    for model in (small, whole):
        model(every).square().sum().backward()
    gradients = [model.embedding.weight.grad.to_dense() for model in (small, whole)]
    assert torch.allclose(gradients[0], gradients[1][KEPT], atol=1e-6)
    padding = texts.embedding.padding_idx
    if padding in KEPT:
        assert not gradients[0][KEPT.index(padding)].any()


def test_the_padding_of_a_forward_that_asks_for_it_keeps_its_id():
    torch.manual_seed(0)
    model = Padded(nn.Embedding(WORDS, 4, padding_idx=0))
    ids = torch.where(IDS % 3 == 0, 0, IDS)
    small, _ = check_exact(model, living(model, KEPT), ids)
    assert len(small.embedding.weight) == 5


@pytest.mark.parametrize("word", [-1, WORDS])
def test_ids_that_are_none_raise_as_before(texts, word):
    small, _ = compact(texts.eval(), living(texts, KEPT), (IDS,))
    for model in (texts, small):
        with pytest.raises(IndexError, match="out of range"):
            model(torch.tensor([[word]]))


def test_ids_of_either_integer_type_and_any_shape_are_taken(texts):
    small, _ = compact(texts.eval(), living(texts, KEPT), (IDS,))
    whole = masked(texts, living(texts, KEPT)).eval()
    for ids in (IDS.int(), IDS[0], IDS[0, 0], IDS[:0], IDS.T, IDS.unsqueeze(0)):
        assert torch.equal(small.embedding(ids), whole.embedding(ids))
    name = "input" if type(texts.embedding) is nn.Embedding else "ids"
    assert torch.equal(small.embedding(**{name: IDS}), whole.embedding(IDS))


def test_a_second_round_cuts_further_words(texts):
    small, left = check_exact(texts, living(texts, KEPT), IDS)
    second = Masks(dict(left.kept))
    second.kept["embedding.weight"] = torch.tensor([True, False, True, False, True])[:, None].expand(5, 4).clone()
    smaller, _ = check_exact(small, second, IDS)
    assert len(smaller.embedding.weight) == 3
    every = torch.arange(WORDS)
    expected = masked(texts, living(texts, [3, 8, 49])).eval().embedding(every)
    assert torch.equal(smaller.eval().embedding(every), expected)
    again, _ = check_exact(smaller, Masks({}), IDS)
    assert size_of(again) == size_of(smaller)


def test_copies_pickles_state_dicts_and_types(texts):
    small, _ = compact(texts.eval(), living(texts, KEPT), (IDS,))
    for other in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert type(other.embedding) is type(small.embedding) and difference(small, other, IDS) == 0
    blank = copy.deepcopy(small)
    for tensor in blank.state_dict().values():
        tensor.zero_()
    blank.load_state_dict(small.state_dict())
    assert difference(small, blank, IDS) == 0
    assert small.half().embedding(IDS).dtype == torch.float16
    assert small.double().embedding(IDS).dtype == torch.float64
    assert small.to("meta").embedding.row_of_word.device.type == "meta"


def test_the_map_is_of_the_smallest_integers():
    for words, kind in ((120, torch.int8), (300, torch.int16), (40_000, torch.int32)):
        model = nn.Sequential(nn.Embedding(50_000, 8), nn.Linear(8, 2))
        small, _ = check_exact(model, living(model, list(range(9, 9 + words)), "0.weight"), torch.arange(50_000))
        assert small[0].row_of_word.dtype == kind and len(small[0].weight) == words


def test_compiled_models_look_the_same_words_up(texts):
    small, _ = compact(texts.eval(), living(texts, KEPT), (IDS,))
    compiled = torch.compile(small.embedding, backend="eager", fullgraph=True)
    assert torch.equal(compiled(IDS), small.embedding(IDS))


def test_words_of_a_tied_output_stay_while_their_logits_are_returned():
    torch.manual_seed(0)
    model = LanguageModel(WORDS, units=6, tied=True)
    small, _ = check_exact(model, living(model, KEPT), IDS)
    assert small.head.weight is small.embedding.weight and len(small.head.weight) == WORDS


class Tied(nn.Module):
    """Reads the words of a tied output again, so that an output which is always zero may go."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(WORDS, 4), nn.Linear(4, WORDS, bias=False)
        self.out.weight, self.head = self.embedding.weight, nn.Linear(WORDS, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.out(self.embedding(ids).mean(0))))


def test_words_of_a_tied_layer_within_the_model_go_on_both_sides():
    torch.manual_seed(0)
    model = Tied()
    small, _ = check_exact(model, living(model, KEPT), IDS)
    assert small.out.weight is small.embedding.weight and tuple(small.out.weight.shape) == (5, 4)
    assert small.head.in_features == 5


class Itself(Texts):
    """Reads the table of its embedding itself."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) @ torch.ones(2, WORDS) @ self.embedding.weight


@pytest.mark.parametrize(
    "make",
    [
        lambda: Itself(nn.Embedding(WORDS, 4)),
        lambda: Texts(nn.Embedding(WORDS, 4, max_norm=1.0)),
        lambda: Texts(nn.Embedding(WORDS, 4, scale_grad_by_freq=True)),
    ],
)
def test_rows_stay_where_something_else_reads_them_or_their_number(make):
    model = make()
    small, _ = check_exact(model, living(model, KEPT), IDS)
    assert type(small.embedding) is nn.Embedding and len(small.embedding.weight) == WORDS


def test_without_an_example_rows_go_only_where_everything_is_followed():
    model = Texts(nn.Embedding(WORDS, 4))
    assert len(compact(model, living(model, KEPT))[0].embedding.weight) == WORDS
    chain = nn.Sequential(nn.Embedding(WORDS, 4), nn.Linear(4, 2))
    assert len(compact(chain, living(chain, KEPT, "0.weight"))[0][0].weight) == 5


@pytest.mark.parametrize("dead, goes", [(1, False), (12, False), (13, True), (40, True)])
def test_words_go_only_where_that_saves_more_than_their_map_takes(dead, goes):
    torch.manual_seed(0)
    model = Texts(nn.Embedding(WORDS, 2))  # two bytes an id, eight a row
    small, left = check_exact(model, living(model, list(range(dead, WORDS))), IDS)
    assert len(small.embedding.weight) == (WORDS - dead if goes else WORDS)
    assert not goes or len(compact(small, living(small, list(range(1, WORDS - dead))), (IDS,))[0].embedding.weight) == (
        WORDS - dead - 1
    )


@pytest.mark.parametrize("options", [{"embedding_dropout": 0.2}, {"bidirectional": True, "pool": "max"}])
def test_our_classifier_of_many_words_keeps_a_hundred(options, tmp_path):
    def make() -> Classifier:
        return Classifier(vocabulary=20_003, inputs=8, classes=2, units=6, **options)

    torch.manual_seed(0)
    model, ids = make(), torch.randint(20_003, (4, 30))
    small, _ = check_exact(model, living(model, list(range(200, 20_001, 200))), ids)
    assert len(small.embedding.weight) == 100
    save_compact(tmp_path / "small", small)
    loaded = load_compact(tmp_path / "small", make())
    assert difference(small.eval(), loaded.eval(), ids) == 0
    assert torch.equal(loaded.embedding.row_of_word, small.embedding.row_of_word)


@settings(max_examples=40)
@given(data=st.data())
def test_random_words_compact_exactly_round_after_round(data, tmp_path_factory):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    model = Reading(nn.GRU(4, 5), data.draw(st.sampled_from(Reading.WAYS)), words=20)
    ids = torch.randint(20, (5, 2))
    small = model
    for level in data.draw(st.lists(st.sampled_from(["word", "neuron", "weight"]), min_size=1, max_size=3)):
        kept = data.draw(st.sampled_from([0.0, 0.2, 0.7]))
        masks = random_masks(small, level, kept, data.draw(st.integers(0, 99)), lambda name: True, (ids,))
        small, _ = check_exact(small, masks, ids)
    path = tmp_path_factory.mktemp("words") / "small"
    save_compact(path, small)
    assert difference(small.eval(), load_compact(path, model).eval(), ids) == 0
