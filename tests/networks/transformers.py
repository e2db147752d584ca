"""Encoders and decoders, written as their authors wrote them."""

import math

import torch
from torch import Tensor, nn

from tests.networks.example import images, seeded, tokens


class SelfAttention(nn.Module):
    """BERT's: three projections, heads by view and permute, an additive mask, scores spelled out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, self.size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(self.size) + mask
        context = torch.matmul(scores.softmax(dim=-1), value).permute(0, 2, 1, 3).contiguous()
        return self.dense(context.view(x.size(0), x.size(1), self.heads * self.size))


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.norm1 = SelfAttention(width, heads), nn.LayerNorm(width, eps=1e-12)
        self.intermediate, self.output = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.output(nn.functional.gelu(self.intermediate(x)))))


class Bert(nn.Module):
    """Embeddings, encoder, pooler, and a language model's head tied to the embedding."""

    def __init__(self, vocabulary: int = 50, width: int = 16, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(vocabulary, width, padding_idx=0), nn.Embedding(32, width)
        self.kind, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(depth))
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary)
        self.head.weight = self.word.weight
        self.register_buffer("position_ids", torch.arange(32).expand((1, -1)))
        self.position_ids: Tensor

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> dict[str, Tensor]:
        positions = self.position_ids[:, : input_ids.size(1)]
        x = self.norm(self.word(input_ids) + self.position(positions) + self.kind(token_type_ids))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        return {"logits": self.head(x), "pooled": torch.tanh(self.pooler(x[:, 0]))}


class FusedAttention(nn.Module):
    """timm's: one projection for query, key and value."""

    def __init__(self, width: int, heads: int, fused_kernel: bool) -> None:
        super().__init__()
        self.heads, self.scale, self.fused_kernel = heads, (width // heads) ** -0.5, fused_kernel
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused_kernel:
            x = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            x = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


class ViTBlock(nn.Module):
    def __init__(self, width: int, heads: int, fused_kernel: bool) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), FusedAttention(width, heads, fused_kernel)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, width: int = 16, heads: int = 4, depth: int = 2, fused_kernel: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(ViTBlock(width, heads, fused_kernel) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


class TorchEncoder(nn.Module):
    """torch's own encoder, which takes its fast path in eval mode, with a padding mask of booleans."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, width)
        layer = nn.TransformerEncoderLayer(width, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 5)

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens), src_key_padding_mask=padding).mean(1))


class CrossAttention(nn.Module):
    """torch's own multi-head attention between two sequences; gives its weights too."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, kdim=12, vdim=12, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        out, weights = self.attention(query, memory, memory)
        return self.norm(query + out), weights


@seeded
def bert():
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    return Bert(), {"input_ids": tokens(9, 50), "attention_mask": mask, "token_type_ids": tokens(9, 2)}


@seeded
def vit():
    return ViT(), {"x": images()}


@seeded
def vit_sdpa():
    return ViT(fused_kernel=True), {"x": images()}


@seeded
def torch_encoder():
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 5:] = True
    return TorchEncoder(), {"tokens": tokens(7, 50), "padding": padding}


@seeded
def cross_attention():
    return CrossAttention(), {"query": torch.randn(2, 5, 16), "memory": torch.randn(2, 7, 12)}
