"""Qwen2 with LoRA in PyTorch: log-probabilities with a gradient, and a batched sampler that replays CUDA graphs.

Computes in bf16 what the program computes in 8 bits, so that its numbers are near the program's and never equal. Knows nothing of tasks or tools.
"""

import math

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

# Linear layers of a block, by the GGUF's names; the fused ones share their input.
LAYERS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]


class Model:
    """The weights of a GGUF, in bf16."""

    def __init__(self, path: str, device: str):
        reader = gguf.GGUFReader(path)
        value = lambda key: reader.fields[f"qwen2.{key}"].contents()
        self.device = device
        self.blocks, self.hidden, self.inner = value("block_count"), value("embedding_length"), value("feed_forward_length")
        self.heads, self.kv_heads = value("attention.head_count"), value("attention.head_count_kv")
        self.head = self.hidden // self.heads
        self.eps, self.rope_base = value("attention.layer_norm_rms_epsilon"), value("rope.freq_base")
        weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
        take = lambda *names: torch.cat([torch.from_numpy(np.array(weights[name], dtype=np.float32)) for name in names]).to(device, torch.bfloat16)
        self.embedding, self.norm = take("token_embd.weight"), take("output_norm.weight")
        self.output = take("output.weight") if "output.weight" in weights else self.embedding
        self.layers = []
        for block in range(self.blocks):
            of = lambda *names, kind="weight": take(*(f"blk.{block}.{name}.{kind}" for name in names))
            self.layers.append(
                {
                    "norm_1": of("attn_norm"),
                    "norm_2": of("ffn_norm"),
                    "qkv": of("attn_q", "attn_k", "attn_v"),
                    "qkv_bias": of("attn_q", "attn_k", "attn_v", kind="bias"),
                    "out": of("attn_output"),
                    "gate_up": of("ffn_gate", "ffn_up"),
                    "down": of("ffn_down"),
                }
            )

    def sizes(self, layer: str) -> tuple[int, int]:
        """Inputs and outputs of a linear layer."""
        kv = self.kv_heads * self.head
        return {
            "attn_q": (self.hidden, self.hidden),
            "attn_k": (self.hidden, kv),
            "attn_v": (self.hidden, kv),
            "attn_output": (self.hidden, self.hidden),
            "ffn_gate": (self.hidden, self.inner),
            "ffn_up": (self.hidden, self.inner),
            "ffn_down": (self.inner, self.hidden),
        }[layer]

    def rope_tables(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, `[length, head]` each."""
        frequencies = 1.0 / self.rope_base ** (torch.arange(0, self.head, 2, dtype=torch.float64) / self.head)
        angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies).repeat(1, 2)
        return angles.cos().to(self.device, torch.bfloat16), angles.sin().to(self.device, torch.bfloat16)

    def forward(self, ids, adapter, tables, keep=None):
        """Final hidden states `[rows, tokens, hidden]` of right-padded ids. `keep(block, k, v)` is given the keys and values."""
        rows, tokens = ids.shape
        group = self.heads // self.kv_heads
        cos, sin = (table[:tokens] for table in tables)
        x = F.embedding(ids, self.embedding)
        for block, (layer, lora) in enumerate(zip(self.layers, adapter)):
            q, k, v = self.qkv(x, layer, lora)
            heads = lambda t: t.view(rows, tokens, -1, self.head).transpose(1, 2)
            q, k, v = rope(heads(q), cos, sin), rope(heads(k), cos, sin), heads(v)
            if keep:
                keep(block, k, v)
            whole = lambda t: t.repeat_interleave(group, dim=1)
            attended = F.scaled_dot_product_attention(q, whole(k), whole(v), is_causal=True)
            x = self.rest(x, attended.transpose(1, 2).reshape(rows, tokens, -1), layer, lora)
        return F.rms_norm(x, (self.hidden,), self.norm, self.eps)

    def qkv(self, x, layer, lora):
        kv = self.kv_heads * self.head
        h = F.rms_norm(x, (self.hidden,), layer["norm_1"], self.eps)
        return linear(h, layer["qkv"], lora["qkv"], layer["qkv_bias"]).split([self.hidden, kv, kv], -1)

    def rest(self, x, attended, layer, lora):
        """A block after its attention."""
        x = x + linear(attended, layer["out"], lora["out"])
        h = F.rms_norm(x, (self.hidden,), layer["norm_2"], self.eps)
        gate, up = linear(h, layer["gate_up"], lora["gate_up"]).split(self.inner, -1)
        return x + linear(F.silu(gate) * up, layer["down"], lora["down"])


def rope(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def linear(x, weight, lora, bias=None):
    a, b = lora
    return F.linear(x, weight, bias) + F.linear(F.linear(x, a), b)


class Lora:
    """An adapter in f32: `A` uniform in +-1/sqrt(inputs), `B` zero."""

    def __init__(self, model: Model, rank: int, alpha: float, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.scale = alpha / rank
        self.a, self.b = [], []
        for _ in range(model.blocks):
            sizes = {layer: model.sizes(layer) for layer in LAYERS}
            uniform = lambda inputs: (torch.rand(rank, inputs, generator=generator) * 2 - 1) / math.sqrt(inputs)
            self.a.append({layer: uniform(inputs).to(model.device).requires_grad_() for layer, (inputs, _) in sizes.items()})
            self.b.append({layer: torch.zeros(outputs, rank, device=model.device).requires_grad_() for layer, (_, outputs) in sizes.items()})

    def parameters(self) -> list[torch.Tensor]:
        return [p for a, b in zip(self.a, self.b) for layer in LAYERS for p in (a[layer], b[layer])]

    def copy(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.parameters()]

    def set(self, values: list[torch.Tensor]) -> None:
        for p, value in zip(self.parameters(), values):
            p.data.copy_(value)

    def fused(self) -> list[dict]:
        """A and scaled B of each block in bf16; layers that share their input as one, with B block-diagonal."""

        def pair(a, b, names):
            low = torch.cat([a[name] for name in names])
            high = torch.block_diag(*(b[name] for name in names)) * self.scale
            return low.to(torch.bfloat16), high.to(torch.bfloat16)

        groups = {"qkv": LAYERS[:3], "out": LAYERS[3:4], "gate_up": LAYERS[4:6], "down": LAYERS[6:]}
        return [{name: pair(a, b, names) for name, names in groups.items()} for a, b in zip(self.a, self.b)]


def logprobs(model: Model, sequences, masks, adapter, tables, temperature: float):
    """Log-probabilities of all tokens that `masks` marks, in order, and how many each sequence has."""
    width = max(map(len, sequences))
    padded = lambda lists, dtype: torch.tensor([list(row) + [0] * (width - len(row)) for row in lists], dtype=dtype, device=model.device)
    ids, mask = padded(sequences, torch.long), padded(masks, torch.bool)[:, 1:]
    hidden = model.forward(ids, adapter, tables)[:, :-1][mask]
    wanted = ids[:, 1:][mask]

    def part(hidden, wanted):
        logits = F.linear(hidden, model.output).float() / temperature
        return logits.gather(1, wanted[:, None])[:, 0] - torch.logsumexp(logits, -1)

    # The logits of some rows at a time, computed again for the gradient: all of them would not fit.
    parts = [checkpoint(part, h, w, use_reentrant=False) for h, w in zip(hidden.split(512), wanted.split(512))]
    return torch.cat(parts), mask.sum(1)


class Sampler:
    """Slots with keys and values of their own. A replay feeds each slot its forced tokens, then what it samples, `chunk` tokens in all."""

    def __init__(self, model: Model, slots: int, length: int, chunk: int):
        self.model, self.slots, self.length, self.chunk = model, slots, length, chunk
        device = model.device
        self.tables = model.rope_tables(length + 1)
        cache = lambda: [torch.zeros(slots, model.kv_heads, length, model.head, dtype=torch.bfloat16, device=device) for _ in model.layers]
        self.keys, self.values = cache(), cache()
        self.forced = torch.zeros(chunk, slots, dtype=torch.long, device=device)
        self.position = torch.zeros(slots, dtype=torch.long, device=device)
        self.temperature = torch.ones((), device=device)
        self.sampled = torch.zeros(chunk, slots, dtype=torch.long, device=device)
        self.rows = torch.arange(slots, device=device)[:, None]
        self.kv_rows = torch.arange(model.kv_heads, device=device)[None]
        self.adapter = None
        self.graphs = {}

    @torch.no_grad()
    def load(self, lora: Lora) -> None:
        """Samples with this adapter from now on. Into the same memory, which the graphs name."""
        fused = lora.fused()
        if self.adapter is None:
            self.adapter = fused
        for mine, new in zip(self.adapter, fused):
            for name in mine:
                for target, source in zip(mine[name], new[name]):
                    target.copy_(source)

    @torch.no_grad()
    def prefill(self, slots: list[int], prompts: list[list[int]], width: int = 48) -> None:
        """Keys and values of prompts, in their slots."""
        order = sorted(range(len(slots)), key=lambda i: len(prompts[i]))
        for part in (order[at : at + width] for at in range(0, len(order), width)):
            tokens = max(len(prompts[i]) for i in part)
            ids = torch.tensor([prompts[i] + [0] * (tokens - len(prompts[i])) for i in part], device=self.model.device)
            rows = torch.tensor([slots[i] for i in part], device=self.model.device)

            def keep(block, k, v):
                self.keys[block][rows, :, :tokens] = k
                self.values[block][rows, :, :tokens] = v

            self.model.forward(ids, self.adapter, self.tables, keep)

    def step(self, token, position, span: int):
        """The next token of every slot, whose attention sees `span` positions at most."""
        model = self.model
        position = position.clamp(max=self.length - 1)
        cos, sin = (table[position][:, None] for table in self.tables)
        seen = torch.arange(span, device=model.device)[None] <= position[:, None]
        group = model.heads // model.kv_heads
        mask = torch.where(seen, 0.0, float("-inf")).to(torch.bfloat16)[:, None, None].expand(self.slots, model.kv_heads, group, span)
        at = (self.rows, self.kv_rows, position[:, None])
        x = F.embedding(token, model.embedding)
        for block, (layer, lora) in enumerate(zip(model.layers, self.adapter)):
            q, k, v = (t.view(self.slots, -1, model.head) for t in model.qkv(x, layer, lora))
            self.keys[block].index_put_(at, rope(k, cos, sin))
            self.values[block].index_put_(at, v)
            q = rope(q, cos, sin).view(self.slots, model.kv_heads, group, model.head)
            attended = F.scaled_dot_product_attention(q, self.keys[block][:, :, :span], self.values[block][:, :, :span], attn_mask=mask)
            x = model.rest(x, attended.reshape(self.slots, -1), layer, lora)
        logits = F.linear(F.rms_norm(x, (model.hidden,), model.norm, model.eps), model.output).float()
        gumbel = -torch.empty_like(logits).exponential_().clamp(min=1e-20).log()
        return (logits + gumbel * self.temperature).argmax(-1)  # at temperature 0 the most probable

    def steps(self, span: int) -> None:
        token = self.forced[0]
        for k in range(self.chunk):
            token = self.step(torch.where(self.forced[k] >= 0, self.forced[k], token), self.position + k, span)
            self.sampled[k].copy_(token)

    @torch.no_grad()
    def replay(self, forced: np.ndarray, position: np.ndarray, longest: int) -> np.ndarray:
        """`[chunk, slots]` sampled ids. `forced` is -1 where a slot is to go on with what it sampled; `longest` bounds all positions."""
        self.forced.copy_(torch.from_numpy(forced))
        self.position.copy_(torch.from_numpy(position))
        span = min(next((span for span in (512, 1024) if span >= longest), self.length), self.length)
        if self.model.device == "cpu":
            self.steps(span)
        else:
            if span not in self.graphs:
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    self.steps(span)
                torch.cuda.current_stream().wait_stream(side)
                self.graphs[span] = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graphs[span]):
                    self.steps(span)
            self.graphs[span].replay()
        return self.sampled.cpu().numpy()
