"""Encoders of texts, read back from what they wrote."""

from functools import lru_cache

from sparsernn import typed
from sparsernn.data.grams import GramEncoder
from sparsernn.data.text import TOKENIZER_ERRORS, BytePairEncoder, Encoder, WordEncoder, tokenizers_library
from sparsernn.reading import parsed, readable


@lru_cache(maxsize=2)
def encoder_from_json(described: str) -> Encoder:
    """The encoder that wrote `described`; anything else is a UserError."""
    with readable("The saved vocabulary", *TOKENIZER_ERRORS, expected="what training wrote", do="train again"):
        values = parsed(described)
        if "bits" in values:
            return typed.construct(GramEncoder, values, "encoding")
        if "cleaning" in values:
            return typed.construct(WordEncoder, values, "vocabulary")
        return BytePairEncoder(tokenizers_library().Tokenizer.from_str(described))
