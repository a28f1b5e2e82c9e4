"""Cross-attention to a single token without the attention, and self-attention of more rows than a GPU's grid.

SVD's cross-attention sees one token, the image embedding. Softmax over one key is one whatever the query, so
its result is the projected value, forward and backward. Leaving out queries, keys and softmax saves 7 to 9 %
of a network call.
"""

from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor


class SingleTokenAttention:
    """An attention processor that gives (b, 1, d), to be broadcast, where there is one token to look at.

    Where queries train it attends as upstream does, so that every parameter that trains takes part in the
    step, which wrappers for distributed training rely on. Training here freezes them, see ``svd.is_idle``.
    """

    def __init__(self) -> None:
        self.full = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """Return the attention's result, or one row of it where all rows are alike."""
        queries_train = torch.is_grad_enabled() and attn.to_q.weight.requires_grad
        if encoder_hidden_states is None or encoder_hidden_states.shape[1] != 1 or queries_train:
            full: Tensor = self.full(attn, hidden_states, encoder_hidden_states, attention_mask, **more)
            return full
        row: Tensor = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return row


_MOST_ROWS = 65_535
"""Where the grid of a CUDA kernel ends, in the dimension that attention's kernels use for rows of a batch."""


class SplitAttention(AttnProcessor2_0):
    """Upstream's attention, in parts where there are too many rows.

    The attention over frames has a row for each latent pixel of each sample: 9,216 a sample at 576x1024.
    """

    def __call__(self, attn: Attention, hidden_states: Tensor, *others: Any, **more: Any) -> Tensor:
        """Return the attention of each row to itself."""
        attend = super().__call__
        rows = [attend(attn, part, *others, **more) for part in torch.split(hidden_states, _MOST_ROWS)]
        return rows[0] if len(rows) == 1 else torch.cat(rows)
