"""Several processes, one step: gradients summed while they are computed, and statistics of the whole batch.

Each process computes the loss of its part of the batch, times its share of the examples; the sum of the gradients is
then that of the whole batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from matinee.core.processes import Processes, abandon

BUCKET = 2**22  # bytes that are sent at once: large enough to be worth it, small enough to leave early


@dataclass
class _Bucket:
    """Parameters whose gradients travel together, in the order in which they are ready."""

    flat: Tensor  # all gradients, then a 1 for each of them that there is
    parameters: list[nn.Parameter]
    slots: list[Tensor]  # views of `flat`, in the shapes of the parameters
    present: list[bool] = field(default_factory=list)
    missing: int = 0


class Gradients:
    """The sum of every parameter's gradient over all processes, in buckets that leave as soon as they are full.

    After "PyTorch Distributed" (Li et al., 2020, arXiv 2006.15704), without a wrapper around the network. A parameter
    that has no gradient on some process counts as zero there; one that has none anywhere keeps None.
    """

    def __init__(self, parameters: list[nn.Parameter], group: Processes) -> None:
        self._group = group
        self._buckets = [_bucket(members) for members in _filled(parameters[::-1])]
        self._works: list[Any] = []
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._ready(bucket, place))  # type: ignore[no-untyped-call]
            for bucket in self._buckets
            for place, parameter in enumerate(bucket.parameters)
        ]
        self._active = False

    def backward(self, loss: Tensor) -> None:
        """Backward, and the sums in place of the gradients. loss: of this part, times its share."""
        for bucket in self._buckets:
            bucket.present, bucket.missing = [False] * len(bucket.parameters), len(bucket.parameters)
        self._active = True
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            self._active = False
        for bucket in self._buckets[len(self._works) :]:
            self._send(bucket)
        for bucket, work in zip(self._buckets, self._works, strict=True):
            work.wait()
            _hand_out(bucket)
        self._works = []

    def close(self) -> None:
        """Leave the parameters as they were found."""
        if self._works:
            abandon(self._group.gradients)
        for hook in self._hooks:
            hook.remove()

    def _ready(self, bucket: _Bucket, place: int) -> Callable[[Tensor], None]:
        def ready(parameter: Tensor) -> None:
            if not self._active or parameter.grad is None:
                return
            bucket.slots[place].copy_(parameter.grad)
            bucket.present[place] = True
            bucket.missing -= 1
            # In the same order everywhere, whatever is ready first here.
            while len(self._works) < len(self._buckets) and not self._buckets[len(self._works)].missing:
                self._send(self._buckets[len(self._works)])

        return ready

    def _send(self, bucket: _Bucket) -> None:
        flags = bucket.flat[-len(bucket.parameters) :]
        flags.fill_(1.0)
        for place in [place for place, there in enumerate(bucket.present) if not there]:
            bucket.slots[place].zero_()
            flags[place] = 0.0
        self._works.append(dist.all_reduce(bucket.flat, group=self._group.gradients, async_op=True))


def _hand_out(bucket: _Bucket) -> None:
    flags = bucket.flat[-len(bucket.parameters) :]
    for place, (parameter, slot) in enumerate(zip(bucket.parameters, bucket.slots, strict=True)):
        if bucket.present[place] or flags[place].item() > 0:
            parameter.grad = slot


def _filled(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters in groups of one type and device, each about a bucket's worth."""
    buckets: list[list[nn.Parameter]] = []
    size = BUCKET
    for parameter in parameters:
        alike = buckets and (buckets[-1][0].dtype, buckets[-1][0].device) == (parameter.dtype, parameter.device)
        if size >= BUCKET or not alike:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return buckets


def _bucket(parameters: list[nn.Parameter]) -> _Bucket:
    first, sizes = parameters[0], [parameter.numel() for parameter in parameters]
    flat = torch.zeros(sum(sizes) + len(sizes), dtype=first.dtype, device=first.device)
    pieces = torch.split(flat[: sum(sizes)], sizes)
    # In the order in which the weights lie in memory, which optimisers that walk through it rely on.
    slots = [
        piece.as_strided(p.shape, p.stride(), piece.storage_offset()) if _dense(p) else piece.view(p.shape)
        for piece, p in zip(pieces, parameters, strict=True)
    ]
    return _Bucket(flat, parameters, slots)


def _dense(tensor: Tensor) -> bool:
    """Whether the tensor fills its memory without gaps, in whatever order."""
    pairs = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    expected = 1
    for stride, size in pairs:
        if stride != expected:
            return False
        expected *= size
    return True


# -- batch normalisation over the parts of all processes


class _GlobalNormalisation(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy, 2015) with the mean and variance of all processes' parts."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the normalised x, mean (C,), biased variance (C,) and the number of values per channel ()."""
        channels, count = x.shape[1], x.numel() // x.shape[1]
        kept = torch.promote_types(x.dtype, torch.float32)
        variance, mean = torch.var_mean(x.to(kept), [d for d in range(x.dim()) if d != 1], correction=0)
        mean, variance = mean.double(), variance.double()
        sums = torch.cat((mean, variance + mean * mean, mean.new_ones(1))) * count
        dist.all_reduce(sums, group=group)
        whole = sums[-1]
        mean = sums[:channels] / whole
        variance = (sums[channels:-1] / whole - mean * mean).clamp_(min=0.0)
        mean, variance = mean.to(kept), variance.to(kept)
        y = nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        context.save_for_backward(x, weight, mean, variance, whole)
        context.eps, context.group = eps, group
        context.mark_non_differentiable(mean, variance, whole)
        return y, mean, variance, whole

    @staticmethod
    @once_differentiable
    def backward(context: Any, dy: Tensor, *nothing: Any) -> Any:
        """The loss of every process is its share of the whole one, so the sums of all are the whole's."""
        x, weight, mean, variance, whole = context.saved_tensors
        # With the statistics held fixed, one fused pass; what moves through them is added below.
        dx, slope, shift = torch.ops.aten.native_batch_norm_backward(
            dy.contiguous(memory_format=_format(x)), x, weight, mean, variance, None, None, False, context.eps,
            [True, True, True],
        )  # fmt: skip
        sums = torch.cat((shift.double(), slope.double()))
        dist.all_reduce(sums, group=context.group)
        shift_all, slope_all = (sums / whole).chunk(2)
        inverse = (variance.double() + context.eps).rsqrt()
        factor = inverse if weight is None else inverse * weight.double()
        shape = [1, -1] + [1] * (x.dim() - 2)
        by_value, constant, middle = (
            v.to(mean.dtype).view(shape) for v in (-factor * inverse * slope_all, -factor * shift_all, mean)
        )
        # Centred and in the format of the mean: in bfloat16, x and its mean would not cancel.
        dx = torch.addcmul(constant, x - middle, by_value).add_(dx).to(x.dtype)
        needed = context.needs_input_grad
        return dx, slope if needed[1] else None, shift if needed[2] else None, None, None


def _format(x: Tensor) -> torch.memory_format:
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


class _GlobalNorm(nn.modules.batchnorm._BatchNorm):
    """A batch normalisation that has taken over the parameters and statistics of another one."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, group: Processes) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({name: value for name, value in norm.__dict__.items() if name != "forward"})
        self._norm, self._group = [norm], group.statistics  # in a list: no part of the state

    def __deepcopy__(self, memory: dict[int, Any]) -> nn.Module:
        """A copy of the network is one process's own."""
        return copy.deepcopy(self.plain.train(self.training), memory)

    @property
    def plain(self) -> nn.Module:
        """What it took the place of."""
        return self._norm[0]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        y, mean, variance, whole = _GlobalNormalisation.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self._group
        )
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                count = self.num_batches_tracked.add_(1)
                share = 1.0 / count.item() if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_((variance * (whole / (whole - 1))).to(mean.dtype), share)
        return y  # type: ignore[no-any-return]


def normalise_together(network: nn.Module, group: Processes) -> None:
    """Let every batch normalisation use the statistics of the whole batch. The state keeps its names."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(parent, name, _GlobalNorm(child, group))


def normalise_apart(network: nn.Module) -> None:
    """The reverse of `normalise_together`."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _GlobalNorm):
                child.plain.train(child.training)
                setattr(parent, name, child.plain)
