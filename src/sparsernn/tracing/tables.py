"""Names of torch functions, by what they do to the units of their arguments."""

import torch

INDICES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
CHOOSES = frozenset({"__getitem__", "gather", "index_select", "take_along_dim"})
MOVES = frozenset(
    """
    __getitem__ view reshape transpose permute squeeze unsqueeze flatten unflatten contiguous select narrow chunk
    split unbind expand expand_as repeat cat concat concatenate stack hstack clone flip index_select gather movedim
    swapaxes swapdims t take_along_dim tensor_split split_with_sizes hsplit repeat_interleave roll view_as
    reshape_as broadcast_to unfold _pack_padded_sequence adjoint moveaxis
    """.split()
)
SPLITS = frozenset("view reshape unflatten chunk tensor_split view_as reshape_as".split())
SAME_VALUES = frozenset(
    """
    detach detach_ to float double half bfloat16 cfloat cdouble type cpu cuda requires_grad_ type_as contiguous clone
    """.split()
)
KEEPS_ZERO = SAME_VALUES | frozenset(
    """
    relu relu_ tanh tanh_ dropout dropout_ dropout1d dropout2d dropout3d feature_dropout gelu silu elu celu selu
    leaky_relu softsign hardswish mish log1p sqrt neg __neg__ abs __abs__ sign square erf sin relu6 nan_to_num
    zeros_like softshrink hardshrink tanhshrink rrelu expm1 atan asinh sinh trunc round floor ceil
    """.split()
)
MOVES_ZERO = frozenset(
    """
    sigmoid sigmoid_ softplus exp log hardsigmoid cos rsqrt reciprocal logsigmoid ones_like full_like rand_like
    randn_like empty_like alpha_dropout feature_alpha_dropout cosh exp2
    """.split()
)
MAY_MOVE_ZERO = frozenset("hardtanh clamp clip pow __pow__ threshold prelu".split())
MAKES_ZEROS = frozenset("zeros new_zeros zeros_like".split())
FILLS = frozenset("masked_fill masked_fill_ pad _pad_packed_sequence pad_sequence".split())
SCALES = frozenset(
    """
    mul mul_ __mul__ __rmul__ __imul__ multiply div div_ __truediv__ __itruediv__ true_divide
    """.split()
)
DIVIDES = frozenset("div div_ __truediv__ __itruediv__ true_divide".split())
COMBINES = SCALES | frozenset(
    """
    add add_ __add__ __radd__ __iadd__ sub __sub__ __rsub__ rsub __isub__ sub_ maximum minimum where lerp addcmul
    """.split()
)
TOTALS = frozenset("sum nansum norm linalg_norm linalg_vector_norm".split())
JOINS_ONLY = frozenset("mean amax amin max min".split())
REDUCES = TOTALS | JOINS_ONLY | frozenset("logsumexp std var prod median".split())
ALONG = {"softmax": 1, "log_softmax": 1, "cumsum": 1, "topk": 2, "sort": 1, "kthvalue": 2}
POOLS = {
    "max_pool1d": 1,
    "max_pool1d_with_indices": 1,
    "avg_pool1d": 1,
    "adaptive_avg_pool1d": 1,
    "adaptive_max_pool1d": 1,
    "adaptive_max_pool1d_with_indices": 1,
    "lp_pool1d": 1,
    "max_pool2d": 2,
    "max_pool2d_with_indices": 2,
    "avg_pool2d": 2,
    "adaptive_avg_pool2d": 2,
    "adaptive_max_pool2d": 2,
    "interpolate": 1,
}
COPIES_TYPE = frozenset("to type_as new_zeros new_ones new_full new_empty new_tensor".split())
READS_NO_VALUE = frozenset(
    """
    __get__ size dim ndimension numel nelement element_size stride storage_offset is_contiguous is_floating_point
    is_complex is_signed is_same_size get_device data_ptr __len__ __hash__ __repr__ __format__ register_hook
    retain_grad is_inference is_shared is_pinned dense_dim sparse_dim
    """.split()
)
